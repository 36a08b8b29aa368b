"""Draw the inverse networks of all layers: their training, error by depth, and one image from each."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.data import images
    from deep_restoration.figures import inverters
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import read_arrays
    from deep_restoration.files.tables import read_csv, read_rows

    inputs, output, params = snakemake.input, snakemake.output, snakemake.params
    name, layers = snakemake.wildcards.classifier, params.layers
    tables = ((path, read_csv(path)) for path in inputs.histories)
    histories = inverters.by_layer(tables, layers)
    figure = inverters.training(histories, f"{name}: training of the inverse networks")
    save_figure(figure, output.training, output.training_svg)

    rows = [row for row in read_rows(inputs.summary) if row["classifier"] == name]
    figure = inverters.by_depth(rows, layers, f"{name}: inverse networks by layer")
    save_figure(figure, output.depth, output.depth_svg)

    (truth,) = images.originals(inputs.images, 1)
    made = [read_arrays(path, "inversions", params.inverters) for path in inputs.reconstructed]
    reconstructed = {
        inverter: [found[inverter][0] for found in made] for inverter in params.inverters
    }
    title = f"{name}: one image through its inverse networks, and the errors"
    figure = inverters.inversions(truth, reconstructed, layers, title)
    save_figure(figure, output.inversions, output.inversions_svg)
