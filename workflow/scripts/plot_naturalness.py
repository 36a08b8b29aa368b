"""Draw how well learned priors tell natural from unnatural."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import prior_figures, storage

    rows = storage.read_rows(snakemake.input[0])
    layer = snakemake.wildcards.get("layer")
    title = f"feature maps of {snakemake.wildcards.classifier} {layer}" if layer else "images"
    figure = prior_figures.naturalness(rows, f"natural and unnatural {title}")
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
