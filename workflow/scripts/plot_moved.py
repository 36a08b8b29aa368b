"""Draw what the measures say of moved images."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import quality_figures, storage

    name = snakemake.wildcards.classifier
    rows = [row for row in storage.read_rows(snakemake.input[0]) if row["classifier"] == name]
    figure = quality_figures.moved(rows, f"{name}: photographs against themselves, moved")
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
