"""Draw the first-layer filters of a classifier, and how it was trained."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import figures, storage

    history = storage.read_csv(snakemake.input.history)
    accuracy = storage.read_csv(snakemake.input.accuracy)
    chance = accuracy["chance"][0] if len(accuracy.get("chance", ())) else None
    filters = storage.first_filters(snakemake.input.network)
    figure = figures.classifier(filters, history, chance, snakemake.wildcards.classifier)
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
