"""Draw how well learned priors tell natural from unnatural."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.figures import priors
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.tables import read_rows

    rows = read_rows(snakemake.input[0])
    layer = snakemake.wildcards.get("layer")
    title = f"feature maps of {snakemake.wildcards.classifier} {layer}" if layer else "images"
    figure = priors.discrimination(rows, f"natural and unnatural {title}")
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
