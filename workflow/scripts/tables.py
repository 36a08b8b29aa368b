"""Gather the rows of all layers, and summarise them over images with bootstrap intervals."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.evaluation import tables
    from deep_restoration.files.tables import read_rows, write_csv

    rows = [row for path in snakemake.input.images for row in read_rows(path)]
    write_csv(
        snakemake.output.images,
        tables.COLUMNS,
        [[row[c] for c in tables.COLUMNS] for row in rows],
    )
    columns, summary = tables.summarise(rows, snakemake.params.settings["seed"])
    write_csv(snakemake.output.summary, columns, summary)
    families = tables.compare_families(
        rows, snakemake.params.learned, snakemake.params.settings["seed"]
    )
    write_csv(snakemake.output.families, tables.FAMILIES, families)
    maps = [row for path in snakemake.input.maps for row in read_rows(path)]
    write_csv(snakemake.output.maps, maps[0].keys(), [row.values() for row in maps])
