"""Gather the spread over restarts of all layers: means over images with bootstrap intervals."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.evaluation import restarts
    from deep_restoration.files.tables import read_rows, write_csv

    rows = [row for path in snakemake.input for row in read_rows(path)]
    columns, summary = restarts.summarise(rows, snakemake.params.settings["seed"])
    write_csv(snakemake.output[0], columns, summary)
