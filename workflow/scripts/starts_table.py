"""Gather the spread over starts of all layers: means over images with bootstrap intervals."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import starts, storage

    rows = [row for path in snakemake.input for row in storage.read_rows(path)]
    columns, summary = starts.summarise(rows, snakemake.params.settings["seed"])
    storage.write_csv(snakemake.output[0], columns, summary)
