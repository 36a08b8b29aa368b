"""Gather the rows of all layers, and summarise them over images with bootstrap intervals."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import metrics, storage

    rows = [row for path in snakemake.input.images for row in storage.read_rows(path)]
    storage.write_csv(
        snakemake.output.images,
        metrics.COLUMNS,
        [[row[c] for c in metrics.COLUMNS] for row in rows],
    )
    columns, summary = metrics.summarise(rows, snakemake.params.settings["seed"])
    storage.write_csv(snakemake.output.summary, columns, summary)
    sides = metrics.compare_sides(rows, snakemake.params.learned, snakemake.params.settings["seed"])
    storage.write_csv(snakemake.output.sides, metrics.SIDES, sides)
    maps = [row for path in snakemake.input.maps for row in storage.read_rows(path)]
    storage.write_csv(snakemake.output.maps, maps[0].keys(), [row.values() for row in maps])
