"""Draw the spread over restarts against the layer."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.figures import study
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.tables import read_rows

    name = snakemake.wildcards.classifier
    rows = [row for row in read_rows(snakemake.input[0]) if row["classifier"] == name]
    figure = study.ambiguity(rows, f"{name}: how far restarts lie apart, by layer")
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
