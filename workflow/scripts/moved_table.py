"""Gather what the measures say of moved images, of all classifiers: means with bootstrap intervals."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import moved, storage

    rows = [row for path in snakemake.input for row in storage.read_rows(path)]
    columns, summary = moved.summarise(rows, snakemake.params.settings["seed"])
    storage.write_csv(snakemake.output[0], columns, summary)
