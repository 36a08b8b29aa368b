"""Decode, orient, crop and store the photographs of one split; name those that cannot be used."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from pathlib import Path

    import numpy as np

    from deep_restoration import images, inventory, storage

    settings, size = snakemake.params.settings, snakemake.params.settings["size"]
    if settings["source"] == "embedded":
        stream = images.embedded_crops(settings["split"], settings["count"], size, settings["seed"])
    else:
        folder = snakemake.params.folder
        found = inventory.survey(folder)
        if str(found):
            runtime.log.info("%s: %s", folder, found)
        files = inventory.spread(found.images, settings["count"])
        stream = images.folder_images(folder, files, size, snakemake.threads)

    kept, rejected, total = [], [], np.zeros((size, size, 3))
    provenance = runtime.provenance(snakemake.params)
    with storage.create_hdf5(snakemake.output[0], "images", provenance) as file:
        shape = (settings["count"], size, size, 3)
        data = storage.dataset(file, "images", shape, np.uint8, "sRGB, 0..255, N x H x W x 3")
        for (name, image), _ in zip(
            stream, runtime.progress(range(settings["count"]), "preparing images"), strict=True
        ):
            if isinstance(image, images.UnusableImage):
                rejected.append(f"{name}: {image}")
                continue
            data[len(kept)] = image
            kept.append(name)
            total += image
        if settings["source"] == "folder":
            hashes = Path(snakemake.params.hashes)
            inventory.require(settings["content"], folder, files, hashes)
        if rejected:
            listing = "\n  ".join(rejected[:20] + ["..."] * (len(rejected) > 20))
            message = f"{len(rejected)} of {settings['count']} images cannot be used:\n  {listing}"
            if settings["unusable"] == "refuse" or not kept:
                raise ValueError(
                    f"{message}\nmend them or take them out, or set images.unusable to skip"
                )
            runtime.log.warning(message)
            least, user = snakemake.params.least
            if len(kept) < least:
                raise ValueError(f"{message}\n{user} needs at least {least}: add images")
        data.resize(len(kept), axis=0)
        mean = (total / len(kept) / 255).astype(np.float32)
        storage.write_array(file, "mean", mean, "sRGB, 0..1, H x W x 3")
        storage.write_names(file, kept)
    runtime.log.info("%d images kept, %d rejected", len(kept), len(rejected))
