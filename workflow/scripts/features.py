"""Store the feature maps of one layer over the training images."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np
    import torch

    from deep_restoration import classifiers, images, storage

    layer, where, batch = snakemake.wildcards.layer, runtime.device(), 32
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
        data = None
        for start in runtime.progress(range(0, len(chosen), batch), "computing feature maps"):
            rows = chosen[start : start + batch]
            order = np.argsort(rows)
            pixels = images.as_tensor(source["images"][rows[order]][np.argsort(order)])
            (maps,) = network(pixels.to(where)).values()
            maps = maps.float().cpu().numpy()
            if data is None:
                shape = (len(chosen), *maps.shape[1:])
                data = storage.dataset(
                    file, "features", shape, np.float32, "activation, N x C x H x W"
                )
            data[start : start + len(maps)] = maps
        file["names"] = source["names"][...][chosen]
    runtime.log.info("feature maps %s", shape)
