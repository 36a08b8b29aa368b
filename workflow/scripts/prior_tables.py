"""Gather what is known of learned priors: training, denoising, discrimination."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.files.tables import (
        read_csv,
        read_rows,
        read_tables,
        write_csv,
        write_rows,
    )
    from deep_restoration.priors import tables

    inputs, output, names = snakemake.input, snakemake.output, snakemake.params.names
    described = zip(names["experts"], inputs.filters, strict=True)
    gabor = {name: tables.gabor_share(read_csv(path)) for name, path in described}
    rows = []
    for (name, where), path in zip(names["priors"], inputs.histories, strict=True):
        share = gabor.get(name, "") if where == "image" else ""
        rows.append((name, where, *tables.trained(read_csv(path)), share))
    write_csv(output.priors, tables.TRAINED, rows)
    seed = snakemake.params.settings["seed"]
    rows = [tables.denoised(read_rows(path), seed) for path in inputs.denoised]
    write_csv(output.denoising, tables.DENOISED if rows else ("prior",), rows)
    rows = read_tables(inputs.discrimination)
    write_rows(output.discrimination, rows, rows[0] if rows else ("prior",))
