"""Draw one image restored from each layer from several starts, their mean, and how far they lie apart."""

from deep_restoration.jobs.job import job

with job(snakemake):
    import numpy as np

    from deep_restoration.figures import study
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5

    restored = {}
    for layer, path in zip(snakemake.params.layers, snakemake.input, strict=True):
        with open_hdf5(path, "starts") as file:
            truth = file["originals"][0].astype(np.float32) / 255
            restored[layer] = file["images"][:, 0]
    names = snakemake.wildcards
    title = f"{names.classifier}: {names.recipe.replace('_', ' ')} from several starts"
    figure = study.starts(truth, restored, title)
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
