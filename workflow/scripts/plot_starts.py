"""Draw one image restored from each layer from several starts, their mean, and how far they lie apart."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np

    from deep_restoration import storage, study_figures

    restored = {}
    for layer, path in zip(snakemake.params.layers, snakemake.input, strict=True):
        with storage.open_hdf5(path, "starts") as file:
            truth = file["originals"][0].astype(np.float32) / 255
            restored[layer] = file["images"][:, 0]
    names = snakemake.wildcards
    title = f"{names.classifier}: {names.recipe.replace('_', ' ')} from several starts"
    figure = study_figures.starts(truth, restored, title)
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
