"""Draw the kernels of linear inverses, what they cost, and an image that they reconstructed."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.figures import maps
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5, read_arrays
    from deep_restoration.files.tables import read_csv

    inputs, output, name = snakemake.input, snakemake.output, snakemake.wildcards.classifier
    found = read_arrays(inputs.arrays, "linear_inverse")
    with open_hdf5(inputs.arrays, "linear_inverse") as file:
        labels = list(file.attrs["labels"])
    errors = maps.of_first_noise(read_csv(inputs.errors))
    kernels, beyond = maps.kernels_of(found)
    title = f"{name}: inverting the first convolution"
    figure = maps.linear_inverse(kernels, beyond, found["edge_correction"], errors, title)
    save_figure(figure, output.kernels, output.kernels_svg)
    truth, reconstructed = (
        found["original"].transpose(1, 2, 0),
        found["reconstructed"].transpose(0, 2, 3, 1),
    )
    title = f"{name}: reconstructed linearly from the first convolution"
    figure = maps.linear_reconstructions(truth, reconstructed, labels, title)
    save_figure(figure, output.images, output.images_svg)
