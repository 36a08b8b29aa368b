"""Draw the papers' measures by layer, and what the papers report."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import quality_figures, storage

    name = snakemake.wildcards.classifier
    rows, published = (
        [row for row in storage.read_rows(path) if row["classifier"] == name]
        for path in (snakemake.input.measures, snakemake.input.published)
    )
    figure = quality_figures.measures_of_papers(
        rows, published, snakemake.params.sides, f"{name}: the measures of the papers"
    )
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
