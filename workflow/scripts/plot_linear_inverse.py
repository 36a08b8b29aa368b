"""Draw the kernels of linear inverses, what they cost, and an image that they restored."""

from deep_restoration.jobs.job import job

with job(snakemake):
    import numpy as np

    from deep_restoration.figures import maps
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import read_csv

    errors = read_csv(snakemake.input.errors)
    first = errors["noise"] == errors["noise"][0]
    errors = {key: values[first] for key, values in errors.items()}
    with open_hdf5(snakemake.input.arrays, "linear_inverse") as file:
        found = {key: file[key][...] for key in file}
        labels = list(file.attrs["labels"])
    side = 2 * found["filters"].shape[2] + 1
    cut = (found["optimal"].shape[2] - side) // 2
    middle = np.s_[:, :, cut : cut + side, cut : cut + side]
    kernels = {
        "filters": found["filters"],
        "optimal inverse": found["optimal"][middle],
        "pseudo-inverse": found["pseudo_inverse"][middle],
    }
    beyond = {
        "optimal inverse": found["optimal_beyond"],
        "pseudo-inverse": found["pseudo_inverse_beyond"],
    }
    name, output = snakemake.wildcards.classifier, snakemake.output
    figure = maps.linear_inverse(
        kernels,
        beyond,
        found["edge_correction"],
        errors,
        f"{name}: inverting the first convolution",
    )
    save_figure(figure, output.kernels, output.kernels_svg)
    figure = maps.linear_restorations(
        found["original"].transpose(1, 2, 0),
        found["restored"].transpose(0, 2, 3, 1),
        labels,
        f"{name}: restored linearly from the first convolution",
    )
    save_figure(figure, output.images, output.images_svg)
