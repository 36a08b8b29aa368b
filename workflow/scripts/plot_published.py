"""Draw the papers' measures by layer, and what the papers report."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.figures import quality
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.tables import read_rows

    name = snakemake.wildcards.classifier
    rows, published = (
        [row for row in read_rows(path) if row["classifier"] == name]
        for path in (snakemake.input.measures, snakemake.input.published)
    )
    figure = quality.measures_of_papers(
        rows, published, snakemake.params.families, f"{name}: the measures of the papers"
    )
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
