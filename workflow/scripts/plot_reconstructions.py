"""Draw originals beside every recipe's reconstructions, the error images, and the traces."""

from deep_restoration.jobs.job import job

with job(snakemake):
    import numpy as np

    from deep_restoration.figures import galleries, reconstructions
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import read_csv, read_trace

    inputs, output = snakemake.input, snakemake.output
    recipes, count = snakemake.params.settings["recipes"], snakemake.params.settings["images"]
    with open_hdf5(inputs.images, "images") as file:
        truth = file["images"][:count].astype(np.float32) / 255
    restored, curves = {}, {}
    for recipe, path, trace in zip(recipes, inputs.restored, inputs.traces, strict=True):
        with open_hdf5(path, "reconstructions") as file:
            restored[recipe] = file["images"][:count]
        curves[recipe] = read_trace(trace)
    table = read_csv(inputs.table)
    scores = {recipe: table["ssim"][table["recipe"] == recipe] for recipe in recipes}

    title = f"{snakemake.wildcards.classifier} {snakemake.wildcards.layer}"
    figure = galleries.gallery(truth, restored, scores, f"{title}: restored images and their SSIM")
    save_figure(figure, output.gallery, output.gallery_svg)
    first = {recipe: images[0] for recipe, images in restored.items()}
    figure = galleries.errors(truth[0], first, f"{title}: error images")
    save_figure(figure, output.errors, output.errors_svg)
    figure = reconstructions.traces(curves, snakemake.params.sides, f"{title}: convergence")
    save_figure(figure, output.traces, output.traces_svg)
