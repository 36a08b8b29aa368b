"""Draw the inverse networks of all layers: their training, error by depth, and one image from each."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from pathlib import Path

    import numpy as np

    from deep_restoration import inverter_figures, storage

    inputs, output = snakemake.input, snakemake.output
    name, layers = snakemake.wildcards.classifier, snakemake.params.layers
    histories: dict[str, dict[str, list]] = {layer: {} for layer in layers}
    for path in map(Path, inputs.histories):
        layer, inverter = path.parts[-3:-1]
        histories[layer].setdefault(inverter, []).append(storage.read_csv(path))
    figure = inverter_figures.training(histories, f"{name}: training of the inverse networks")
    storage.save_figure(figure, output.training, output.training_svg)

    rows = [row for row in storage.read_rows(inputs.summary) if row["classifier"] == name]
    figure = inverter_figures.by_depth(rows, layers, f"{name}: inverse networks by layer")
    storage.save_figure(figure, output.depth, output.depth_svg)

    with storage.open_hdf5(inputs.images, "images") as file:
        truth = file["images"][0].astype(np.float32) / 255
    restored: dict[str, list] = {}
    for path in inputs.restored:
        with storage.open_hdf5(path, "inversions") as file:
            for inverter in snakemake.params.inverters:
                restored.setdefault(inverter, []).append(file[inverter][0])
    title = f"{name}: one image through its inverse networks, and the errors"
    figure = inverter_figures.inversions(truth, restored, layers, title)
    storage.save_figure(figure, output.inversions, output.inversions_svg)
