"""Draw the filters of a learned prior, their alphas, and the objective on the way."""

from deep_restoration import runtime

with runtime.job(snakemake.log[0], snakemake.threads):
    from deep_restoration import figures, storage

    arrays = storage.load_arrays(snakemake.input.prior, "prior")
    history = storage.read_csv(snakemake.input.history)
    title = f"prior {snakemake.wildcards.prior}"
    figure = figures.prior(arrays["patterns"], arrays["alphas"], history, title)
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
