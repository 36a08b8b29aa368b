"""Measure test photographs against themselves, moved by some pixels."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from pathlib import Path

    from deep_restoration import classifiers, inventory, moved, storage

    settings, name = snakemake.params.settings, snakemake.wildcards.classifier
    layers, folder = settings["layers"], snakemake.params.folder
    network = classifiers.load(snakemake.input.network, layers)
    names = []
    if settings["source"] == "folder":
        names = inventory.spread(inventory.image_files(folder), settings["count"])
        hashes = Path(snakemake.params.hashes)
        inventory.require(settings["content"], folder, names, hashes)
    rows = []
    shown = moved.photographs(settings["source"], folder, names, settings["size"])
    for image, photograph in shown:
        windows = moved.windows(photograph, settings["size"])
        for layer, values in moved.measure(windows, network).items():
            rows += [(name, layer, image, pixels, *line) for pixels, line in enumerate(values)]
    storage.write_csv(snakemake.output[0], moved.COLUMNS, rows)
