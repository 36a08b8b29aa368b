"""Draw originals beside every recipe's reconstructions, the error images, and the traces."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np

    from deep_restoration import figures, storage

    inputs, output = snakemake.input, snakemake.output
    recipes, count = snakemake.params.settings["recipes"], snakemake.params.settings["images"]
    with storage.open_hdf5(inputs.images, "images") as file:
        truth = file["images"][:count].astype(np.float32) / 255
    restored, curves = {}, {}
    for recipe, path, trace in zip(recipes, inputs.restored, inputs.traces, strict=True):
        with storage.open_hdf5(path, "reconstructions") as file:
            restored[recipe] = file["images"][:count]
        curves[recipe] = storage.read_trace(trace)
    table = storage.read_csv(inputs.table)
    scores = {recipe: table["ssim"][table["recipe"] == recipe] for recipe in recipes}

    title = f"{snakemake.wildcards.classifier} {snakemake.wildcards.layer}"
    figure = figures.gallery(truth, restored, scores, f"{title}: restored images and their SSIM")
    storage.save_figure(figure, output.gallery, output.gallery_svg)
    first = {recipe: images[0] for recipe, images in restored.items()}
    figure = figures.errors(truth[0], first, f"{title}: error images")
    storage.save_figure(figure, output.errors, output.errors_svg)
    figure = figures.traces(curves, snakemake.params.sides, f"{title}: convergence")
    storage.save_figure(figure, output.traces, output.traces_svg)
