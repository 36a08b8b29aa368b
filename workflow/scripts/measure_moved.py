"""Measure test photographs against themselves, moved by some pixels."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.data import inventory, splits
    from deep_restoration.evaluation import moved
    from deep_restoration.files import hashing
    from deep_restoration.files.tables import write_csv
    from deep_restoration.networks import saved

    settings, name = snakemake.params.settings, snakemake.wildcards.classifier
    layers, source = settings["layers"], snakemake.params.folder
    network, folder = saved.load(snakemake.input.network, layers), inventory.folder_of(source)
    names = []
    if settings["source"] == "folder":
        names = splits.evenly_spaced(inventory.image_files(source), settings["count"])
        hashing.require(settings["content"], folder, names, snakemake.params.hashes)
    rows = []
    shown = moved.photographs(settings["source"], folder, names, settings["size"])
    for image, photograph in shown:
        windows = moved.windows(photograph, settings["size"])
        for layer, values in moved.measure(windows, network).items():
            rows += [(name, layer, image, pixels, *line) for pixels, line in enumerate(values)]
    write_csv(snakemake.output[0], moved.COLUMNS, rows)
