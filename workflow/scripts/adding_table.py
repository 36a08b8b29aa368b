"""Gather what priors of feature maps add, of all layers."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import adding, storage

    rows = [row for path in snakemake.input for row in storage.read_rows(path)]
    storage.write_csv(
        snakemake.output[0], adding.COLUMNS, [[row[c] for c in adding.COLUMNS] for row in rows]
    )
