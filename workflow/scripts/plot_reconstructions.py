"""Draw originals beside every recipe's reconstructions, the error images, and the traces."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.data import images
    from deep_restoration.figures import galleries, reconstructions
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import read_images
    from deep_restoration.files.tables import read_csv, read_trace

    inputs, output = snakemake.input, snakemake.output
    recipes, count = snakemake.params.settings["recipes"], snakemake.params.settings["images"]
    truth = images.originals(inputs.images, count)
    files = dict(zip(recipes, inputs.reconstructed, strict=True))
    reconstructed = read_images(files, "reconstructions", count)
    traces = zip(recipes, inputs.traces, strict=True)
    curves = {recipe: read_trace(path) for recipe, path in traces}
    table = read_csv(inputs.table)
    scores = {recipe: table["ssim"][table["recipe"] == recipe] for recipe in recipes}

    title = f"{snakemake.wildcards.classifier} {snakemake.wildcards.layer}"
    heading = f"{title}: reconstructed images and their SSIM"
    figure = galleries.gallery(truth, reconstructed, scores, heading)
    save_figure(figure, output.gallery, output.gallery_svg)
    first = {recipe: found[0] for recipe, found in reconstructed.items()}
    figure = galleries.errors(truth[0], first, f"{title}: error images")
    save_figure(figure, output.errors, output.errors_svg)
    figure = reconstructions.traces(curves, snakemake.params.families, f"{title}: convergence")
    save_figure(figure, output.traces, output.traces_svg)
