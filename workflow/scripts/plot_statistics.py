"""Draw covariance, its inverses, Gram matrices and sparsity of the feature maps of one layer."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.figures import maps
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5

    with open_hdf5(snakemake.input[0], "statistics") as file:
        height, width = file.attrs["grid"]
        shown = {
            f"spatial covariance ({height} x {width})": "covariance",
            "its pseudo-inverse": "pseudo_inverse",
            "its precision (Ledoit-Wolf)": "precision",
            f"Gram matrix ({len(file['gram'])} channels)": "gram",
            "centred Gram matrix": "gram_centred",
        }
        matrices = {label: file[name][...] for label, name in shown.items()}
        channels, images = file["of_channels"][...], file["of_images"][...]
    names = snakemake.wildcards
    title = f"{names.classifier} {names.layer}: statistics of feature maps"
    figure = maps.statistics(matrices, channels, images, title)
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
