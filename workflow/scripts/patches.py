"""Sample patches of images or of feature maps uniformly, store them, and fit their whitening."""

from deep_restoration import runtime

with runtime.job(snakemake.log[0], snakemake.threads):
    import numpy as np

    from deep_restoration import patches, storage

    settings = snakemake.params.settings
    kind = "images" if snakemake.rule == "image_patches" else "features"
    rng = np.random.default_rng(settings["seed"])
    provenance = runtime.provenance(snakemake.params)
    with (
        storage.open_hdf5(snakemake.input[0], kind) as source,
        storage.create_hdf5(snakemake.output[0], "patches", provenance) as file,
    ):
        maps, size, count = source[kind], settings["size"], settings["count"]
        if maps.ndim == 2:  # a flat layer has one position
            maps, size = maps[...][:, :, None, None], 1
        channels, height, width = (3, *maps.shape[1:3]) if kind == "images" else maps.shape[1:]
        if size > min(height, width):
            raise ValueError(
                f"patches of {size} x {size} do not fit into maps of {height} x {width}"
            )
        shape = (count, channels, size, size)
        units = "0..255" if kind == "images" else "activation"
        dtype = np.uint8 if kind == "images" else np.float32
        data = storage.dataset(file, "patches", shape, dtype, f"{units}, n x C x k x k")
        positions = (height - size + 1) * (width - size + 1)
        shares = patches.plan(count, len(maps), positions, rng)
        moments = patches.Moments(channels * size * size)
        waiting, start, scale = [], 0, 255 if kind == "images" else 1
        for index in runtime.progress(range(len(maps)), "sampling patches"):
            image = maps[index]
            image = image.transpose(2, 0, 1) if kind == "images" else image
            waiting.append(patches.gather(image, size, shares[index]))
            if sum(map(len, waiting)) >= 20000 or index == len(maps) - 1:
                block = np.concatenate(waiting)
                data[start : start + len(block)] = block
                start, waiting = start + len(block), []
                moments.add(patches.remove_dc(block.astype(np.float64) / scale, settings["dc"]))
        whitening = patches.Whitening.fit(moments)
        file.attrs["dc"] = settings["dc"]
        file.attrs["scale"] = scale
        for name in ("mean", "eigenvalues", "eigenvectors"):
            file.create_dataset(name, data=getattr(whitening, name), track_times=False)
    runtime.log.info("%s patches, rank %d of %d", kind, whitening.rank(), channels * size * size)
