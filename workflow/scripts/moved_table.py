"""Gather what the measures say of moved images, of all classifiers: means with bootstrap intervals."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.evaluation import moved
    from deep_restoration.files.tables import read_rows, write_csv

    rows = [row for path in snakemake.input for row in read_rows(path)]
    columns, summary = moved.summarise(rows, snakemake.params.settings["seed"])
    write_csv(snakemake.output[0], columns, summary)
