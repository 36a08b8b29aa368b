"""Draw stationarity and sparsity of all layers of a classifier."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.figures import maps
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import read_csv, read_rows

    name = snakemake.wildcards.classifier
    channels, images, curves = {}, {}, {}
    for path, curve in zip(snakemake.input.arrays, snakemake.input.curves, strict=True):
        layer = read_rows(curve)[0]["layer"]
        with open_hdf5(path, "statistics") as file:
            channels[layer], images[layer] = file["of_channels"][...], file["of_images"][...]
        curves[layer] = read_csv(curve)
    output = snakemake.output
    figure = maps.stationarity(curves, f"{name}: how stationary are feature maps?")
    save_figure(figure, output.stationarity, output.stationarity_svg)
    figure = maps.sparsity(channels, images, f"{name}: sparsity across layers")
    save_figure(figure, output.sparsity, output.sparsity_svg)
