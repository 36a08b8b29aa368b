"""Gather what is known of learned priors: training, denoising, naturalness."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.evaluation import intervals
    from deep_restoration.files.tables import read_csv, read_rows, write_csv
    from deep_restoration.priors import filters

    inputs, output, names = snakemake.input, snakemake.output, snakemake.params.names
    gabor = {}
    for name, path in zip(names["experts"], inputs.filters, strict=True):
        table = read_csv(path)
        gabor[name] = float((table["explained"] >= filters.GOOD).mean())
    rows = []
    for (name, where), path in zip(names["priors"], inputs.histories, strict=True):
        table = read_csv(path)
        held, steps = float(table["held_out_objective"].min()), int(table["step"][-1])
        share = gabor.get(name, "") if where == "image" else ""
        rows.append((name, where, steps, float(table["seconds"][-1]), held, share))
    columns = ("prior", "layer", "steps", "seconds", "held_out_objective", "gabor_share")
    write_csv(output.priors, columns, rows)

    rows = []
    for path in inputs.denoised:
        table = read_rows(path)
        first, values = table[0], {}
        for key in ("psnr_noisy", "psnr", "ssim", "iterations", "residual", "seconds"):
            values[key] = [float(row[key]) for row in table]
        pictures, seed = [row["image"] for row in table], snakemake.params.settings["seed"]
        limits = intervals.cells(intervals.bootstrap_interval(values["psnr"], pictures, seed))
        means = [sum(v) / len(v) for v in values.values()]
        facts = [first[key] for key in ("prior", "estimator", "colour")]
        facts += [len(table), intervals.photographs(pictures)]
        more = (first["sigma"], first["weight"])
        rows.append((*facts, *more, *means, *limits, intervals.note(pictures)))
    columns = ("prior", "estimator", "colour", "images", "photographs", "sigma", "weight")
    columns = (*columns, *values, "psnr_low", "psnr_high", "note") if rows else ("prior",)
    write_csv(output.denoising, columns, rows)

    rows = [row for path in inputs.naturalness for row in read_rows(path)]
    columns = list(rows[0]) if rows else ("prior",)
    write_csv(output.naturalness, columns, [row.values() for row in rows])
