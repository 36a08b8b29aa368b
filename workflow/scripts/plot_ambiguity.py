"""Draw the spread over starts against the layer."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import storage, study_figures

    name = snakemake.wildcards.classifier
    rows = [row for row in storage.read_rows(snakemake.input[0]) if row["classifier"] == name]
    figure = study_figures.ambiguity(rows, f"{name}: how far starts lie apart, by layer")
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
