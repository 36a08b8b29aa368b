"""Gather the papers' measures of all layers, and set what papers report beside them."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.evaluation import literature
    from deep_restoration.files.tables import read_rows, write_csv

    inputs, settings = snakemake.input, snakemake.params.settings
    rows = [row for path in inputs.measures for row in read_rows(path)]
    columns = list(rows[0])
    write_csv(snakemake.output.measures, columns, [[row[c] for c in columns] for row in rows])
    published = [row for path in inputs.published for row in read_rows(path)]
    lines = literature.compare(rows, published, settings["classifiers"], settings["size"])
    write_csv(snakemake.output.published, literature.COLUMNS, lines)
