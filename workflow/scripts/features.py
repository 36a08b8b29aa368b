"""Store the feature maps of one layer over the training images."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime import devices

with job(snakemake):
    import torch

    from deep_restoration.data import splits
    from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, read_names, write_names
    from deep_restoration.networks import features, saved

    settings, where = snakemake.params.settings, devices.device()
    network = saved.load(snakemake.input.network, [snakemake.wildcards.layer])
    network.to(where, memory_format=torch.channels_last)
    provenance = provenance_of(snakemake.params)
    with (
        open_hdf5(snakemake.input.images, "images") as source,
        create_hdf5(snakemake.output[0], "features", provenance) as file,
    ):
        images, names = source["images"], read_names(source)
        chosen = splits.sample(len(images), settings["images"], settings["held_out"])
        maps = features.maps_of(network, images, chosen, where)
        log.info("feature maps %s", features.store(file, maps, len(chosen)))
        write_names(file, [names[index] for index in chosen])
