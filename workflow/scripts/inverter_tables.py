"""Gather how good the inverse networks are: one row per image, and one row per network."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.evaluation import tables
    from deep_restoration.files.tables import read_rows, write_csv

    rows = [row for path in snakemake.input for row in read_rows(path)]
    columns, summary = tables.summarise_inverters(rows, snakemake.params.settings["seed"])
    write_csv(
        snakemake.output.images, rows[0].keys() if rows else columns, [row.values() for row in rows]
    )
    write_csv(snakemake.output.summary, columns, summary)
