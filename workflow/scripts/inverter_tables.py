"""Gather how good the inverse networks are: a row an image, and a row a network."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import metrics, storage

    rows = [row for path in snakemake.input for row in storage.read_rows(path)]
    columns, summary = metrics.summarise_inverters(rows, snakemake.params.settings["seed"])
    storage.write_csv(
        snakemake.output.images, rows[0].keys() if rows else columns, [row.values() for row in rows]
    )
    storage.write_csv(snakemake.output.summary, columns, summary)
