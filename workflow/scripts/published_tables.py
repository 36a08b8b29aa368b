"""Gather the papers' measures of all layers, and set what papers report beside them."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import literature, storage

    inputs, settings = snakemake.input, snakemake.params.settings
    rows = [row for path in inputs.measures for row in storage.read_rows(path)]
    columns = list(rows[0])
    storage.write_csv(
        snakemake.output.measures, columns, [[row[c] for c in columns] for row in rows]
    )
    published = [row for path in inputs.published for row in storage.read_rows(path)]
    lines = literature.compare(rows, published, settings["classifiers"], settings["size"])
    storage.write_csv(snakemake.output.published, literature.COLUMNS, lines)
