"""Gather the rows of all layers, and summarise them over images with bootstrap intervals."""

from deep_restoration import runtime

with runtime.job(snakemake.log[0], snakemake.threads):
    import csv

    from deep_restoration import metrics, storage

    rows = []
    for path in snakemake.input:
        with open(path, newline="", encoding="utf-8") as file:
            rows += list(csv.DictReader(file))
    storage.write_csv(
        snakemake.output.images,
        metrics.COLUMNS,
        [[row[c] for c in metrics.COLUMNS] for row in rows],
    )
    columns, summary = metrics.summarise(rows, snakemake.params.settings["seed"])
    storage.write_csv(snakemake.output.summary, columns, summary)
