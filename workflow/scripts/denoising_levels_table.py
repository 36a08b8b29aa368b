"""Gather how well denoisers denoise at each noise level."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.files.tables import read_tables, write_rows

    rows = read_tables(snakemake.input)
    write_rows(snakemake.output[0], rows, rows[0])
