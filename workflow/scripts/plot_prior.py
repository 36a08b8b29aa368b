"""Draw the filters of a learned prior, where they lie, their alphas, and the objective on the way."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.figures import priors
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.tables import read_csv
    from deep_restoration.files.tensors import load_arrays

    history = read_csv(snakemake.input.history)
    title = f"prior {snakemake.wildcards.prior}"
    if described := snakemake.input.get("filters"):
        arrays = load_arrays(snakemake.input.prior, "prior")
        table = read_csv(described[0])
        figure = priors.prior(arrays["patterns"], arrays["alphas"], table, history, title)
    else:
        figure = priors.network(history, snakemake.params.method, title)
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
