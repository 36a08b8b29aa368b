"""Decode, orient, crop and store the photographs of one split; name those that cannot be used."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime.progress import progress

with job(snakemake):
    from pathlib import Path

    import numpy as np

    from deep_restoration.data import images, inventory, splits
    from deep_restoration.files import hashing
    from deep_restoration.files.hdf5 import create_dataset, create_hdf5, write_array, write_names

    settings, size = snakemake.params.settings, snakemake.params.settings["size"]
    if settings["source"] == "embedded":
        stream = images.embedded_crops(settings["split"], settings["count"], size, settings["seed"])
    else:
        folder = snakemake.params.folder
        found = inventory.survey(folder)
        if str(found):
            log.info("%s: %s", folder, found)
        files = splits.evenly_spaced(found.images, settings["count"])
        stream = images.folder_images(folder, files, size, snakemake.threads)

    kept, rejected, total = [], [], np.zeros((size, size, 3))
    provenance = provenance_of(snakemake.params)
    with create_hdf5(snakemake.output[0], "images", provenance) as file:
        shape = (settings["count"], size, size, 3)
        data = create_dataset(file, "images", shape, np.uint8, "sRGB, 0..255, N x H x W x 3")
        for (name, image), _ in zip(
            stream, progress(range(settings["count"]), "preparing images"), strict=True
        ):
            if isinstance(image, images.UnusableImage):
                rejected.append(f"{name}: {image}")
                continue
            data[len(kept)] = image
            kept.append(name)
            total += image
        if settings["source"] == "folder":
            hashes = Path(snakemake.params.hashes)
            hashing.require(settings["content"], folder, files, hashes)
        if rejected:
            listing = "\n  ".join(rejected[:20] + ["..."] * (len(rejected) > 20))
            message = f"{len(rejected)} of {settings['count']} images cannot be used:\n  {listing}"
            if settings["unusable"] == "refuse" or not kept:
                raise ValueError(
                    f"{message}\nmend them or take them out, or set images.unusable to skip"
                )
            log.warning(message)
            least, user = snakemake.params.least
            if len(kept) < least:
                raise ValueError(f"{message}\n{user} needs at least {least}: add images")
        data.resize(len(kept), axis=0)
        mean = (total / len(kept) / 255).astype(np.float32)
        write_array(file, "mean", mean, "sRGB, 0..1, H x W x 3")
        write_names(file, kept)
    log.info("%d images kept, %d rejected", len(kept), len(rejected))
