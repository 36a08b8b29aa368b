"""Gather what is known of learned priors: training, denoising, naturalness."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import filters, metrics, storage

    inputs, output, names = snakemake.input, snakemake.output, snakemake.params.names
    gabor = {}
    for name, path in zip(names["experts"], inputs.filters, strict=True):
        table = storage.read_csv(path)
        gabor[name] = float((table["explained"] >= filters.GOOD).mean())
    rows = []
    for (name, where), path in zip(names["priors"], inputs.histories, strict=True):
        table = storage.read_csv(path)
        held, steps = float(table["held_out_objective"].min()), int(table["step"][-1])
        share = gabor.get(name, "") if where == "image" else ""
        rows.append((name, where, steps, float(table["seconds"][-1]), held, share))
    columns = ("prior", "layer", "steps", "seconds", "held_out_objective", "gabor_share")
    storage.write_csv(output.priors, columns, rows)

    rows = []
    for path in inputs.denoised:
        table = storage.read_rows(path)
        first, values = table[0], {}
        for key in ("psnr_noisy", "psnr", "ssim", "iterations", "residual", "seconds"):
            values[key] = [float(row[key]) for row in table]
        pictures, seed = [row["image"] for row in table], snakemake.params.settings["seed"]
        limits = metrics.cells(metrics.bootstrap_interval(values["psnr"], pictures, seed))
        means = [sum(v) / len(v) for v in values.values()]
        facts = [first[key] for key in ("prior", "estimator", "colour")]
        facts += [len(table), metrics.photographs(pictures)]
        more = (first["sigma"], first["weight"])
        rows.append((*facts, *more, *means, *limits, metrics.note(pictures)))
    columns = ("prior", "estimator", "colour", "images", "photographs", "sigma", "weight")
    columns = (*columns, *values, "psnr_low", "psnr_high", "note") if rows else ("prior",)
    storage.write_csv(output.denoising, columns, rows)

    rows = [row for path in inputs.naturalness for row in storage.read_rows(path)]
    columns = list(rows[0]) if rows else ("prior",)
    storage.write_csv(output.naturalness, columns, [row.values() for row in rows])
