"""Draw the filters of a learned prior, where they lie, their alphas, and the objective on the way."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import prior_figures, storage

    history = storage.read_csv(snakemake.input.history)
    title = f"prior {snakemake.wildcards.prior}"
    if described := snakemake.input.get("filters"):
        arrays = storage.load_arrays(snakemake.input.prior, "prior")
        table = storage.read_csv(described[0])
        figure = prior_figures.prior(arrays["patterns"], arrays["alphas"], table, history, title)
    else:
        figure = prior_figures.network(history, snakemake.params.method, title)
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
