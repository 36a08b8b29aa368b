"""Draw covariance, its inverse, Gram matrix and sparsity of the feature maps of one layer."""

from deep_restoration import runtime

with runtime.job(snakemake.log[0], snakemake.threads):
    from deep_restoration import figures, storage

    names = ("covariance", "inverse_covariance", "gram", "gini_channels", "gini_images")
    with storage.open_hdf5(snakemake.input[0], "statistics") as file:
        arrays = [file[name][...] for name in names]
        window = tuple(file.attrs["window"])
    title = (
        f"{snakemake.wildcards.classifier} {snakemake.wildcards.layer}: statistics of feature maps"
    )
    figure = figures.statistics(*arrays, window, title)
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
