"""Draw the first-layer filters of a classifier, and how it was trained."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.figures import galleries
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.tables import read_csv
    from deep_restoration.networks import first_layer

    history = read_csv(snakemake.input.history)
    accuracy = read_csv(snakemake.input.accuracy)
    chance = accuracy["chance"][0] if len(accuracy.get("chance", ())) else None
    filters = first_layer.first_filters(snakemake.input.network)
    figure = galleries.classifier(filters, history, chance, snakemake.wildcards.classifier)
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
