"""Store the feature maps of one layer over the training images."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime import devices

with job(snakemake):
    import numpy as np
    import torch

    from deep_restoration.data import images, splits
    from deep_restoration.files.hdf5 import (
        create_dataset,
        create_hdf5,
        open_hdf5,
        read_names,
        write_names,
    )
    from deep_restoration.networks import saved
    from deep_restoration.runtime import batches

    layer, where = snakemake.wildcards.layer, devices.device()
    network = saved.load(snakemake.input.network, [layer])
    network.to(where, memory_format=torch.channels_last)
    provenance = provenance_of(snakemake.params)
    with (
        open_hdf5(snakemake.input.images, "images") as source,
        create_hdf5(snakemake.output[0], "features", provenance) as file,
        torch.inference_mode(),
    ):
        settings = snakemake.params.settings
        chosen = splits.sample(len(source["images"]), settings["images"], settings["held_out"])

        def maps_of(part: slice) -> np.ndarray:
            rows = chosen[part]
            order = np.argsort(rows)
            pixels = images.as_tensor(source["images"][rows[order]][np.argsort(order)])
            (maps,) = network(pixels.to(where)).values()
            return maps.float().cpu().numpy()

        computing, data = batches.Batches(32, "computing feature maps"), None
        for part, maps in computing(maps_of, len(chosen)):
            if data is None:
                shape = (len(chosen), *maps.shape[1:])
                data = create_dataset(
                    file, "features", shape, np.float32, "activation, N x C x H x W"
                )
            data[part] = maps
        names = read_names(source)
        write_names(file, [names[index] for index in chosen])
    log.info("feature maps %s", shape)
