"""Store the feature maps of one layer over the training images."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np
    import torch

    from deep_restoration import batches, classifiers, images, storage

    layer, where = snakemake.wildcards.layer, runtime.device()
    network = classifiers.load(snakemake.input.network, [layer])
    network.to(where, memory_format=torch.channels_last)
    provenance = runtime.provenance(snakemake.params)
    with (
        storage.open_hdf5(snakemake.input.images, "images") as source,
        storage.create_hdf5(snakemake.output[0], "features", provenance) as file,
        torch.inference_mode(),
    ):
        settings = snakemake.params.settings
        chosen = images.sample(len(source["images"]), settings["images"], settings["held_out"])

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
                data = storage.dataset(
                    file, "features", shape, np.float32, "activation, N x C x H x W"
                )
            data[part] = maps
        names = storage.read_names(source)
        storage.write_names(file, [names[index] for index in chosen])
    runtime.log.info("feature maps %s", shape)
