"""Draw one image reconstructed from each layer by several restarts, their mean, and how far they differ."""

from deep_restoration.jobs.job import job

with job(snakemake):
    import numpy as np

    from deep_restoration.figures import study
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5

    reconstructed = {}
    for layer, path in zip(snakemake.params.layers, snakemake.input, strict=True):
        with open_hdf5(path, "restarts") as file:
            truth = file["originals"][0].astype(np.float32) / 255
            reconstructed[layer] = file["images"][:, 0]
    names = snakemake.wildcards
    title = f"{names.classifier}: {names.recipe.replace('_', ' ')} from several restarts"
    figure = study.restarts(truth, reconstructed, title)
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
