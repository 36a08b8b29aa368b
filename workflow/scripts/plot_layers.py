"""Draw stationarity and sparsity of all layers of a classifier."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import map_figures, storage

    name = snakemake.wildcards.classifier
    channels, images, curves = {}, {}, {}
    for path, curve in zip(snakemake.input.arrays, snakemake.input.curves, strict=True):
        layer = storage.read_rows(curve)[0]["layer"]
        with storage.open_hdf5(path, "statistics") as file:
            channels[layer], images[layer] = file["of_channels"][...], file["of_images"][...]
        curves[layer] = storage.read_csv(curve)
    output = snakemake.output
    figure = map_figures.stationarity(curves, f"{name}: how stationary are feature maps?")
    storage.save_figure(figure, output.stationarity, output.stationarity_svg)
    figure = map_figures.sparsity(channels, images, f"{name}: sparsity across layers")
    storage.save_figure(figure, output.sparsity, output.sparsity_svg)
