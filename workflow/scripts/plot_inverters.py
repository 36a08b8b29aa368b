"""Draw the inverse networks of all layers: their training, error by depth, and one image from each."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from pathlib import Path

    import numpy as np

    from deep_restoration.figures import inverters
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import read_csv, read_rows

    inputs, output = snakemake.input, snakemake.output
    name, layers = snakemake.wildcards.classifier, snakemake.params.layers
    histories: dict[str, dict[str, list]] = {layer: {} for layer in layers}
    for path in map(Path, inputs.histories):
        layer, inverter = path.parts[-3:-1]
        histories[layer].setdefault(inverter, []).append(read_csv(path))
    figure = inverters.training(histories, f"{name}: training of the inverse networks")
    save_figure(figure, output.training, output.training_svg)

    rows = [row for row in read_rows(inputs.summary) if row["classifier"] == name]
    figure = inverters.by_depth(rows, layers, f"{name}: inverse networks by layer")
    save_figure(figure, output.depth, output.depth_svg)

    with open_hdf5(inputs.images, "images") as file:
        truth = file["images"][0].astype(np.float32) / 255
    restored: dict[str, list] = {}
    for path in inputs.restored:
        with open_hdf5(path, "inversions") as file:
            for inverter in snakemake.params.inverters:
                restored.setdefault(inverter, []).append(file[inverter][0])
    title = f"{name}: one image through its inverse networks, and the errors"
    figure = inverters.inversions(truth, restored, layers, title)
    save_figure(figure, output.inversions, output.inversions_svg)
