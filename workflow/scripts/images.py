"""Decode, orient, crop and store the photographs of one split; name those that cannot be used."""

from deep_restoration.jobs.job import job, log, provenance_of

with job(snakemake):
    from deep_restoration.data import images, inventory, preparation, splits
    from deep_restoration.files import hashing
    from deep_restoration.files.hdf5 import create_hdf5

    params, settings = snakemake.params, snakemake.params.settings
    count, size = settings["count"], settings["size"]
    if embedded := settings["source"] == "embedded":
        stream = images.embedded_crops(settings["split"], count, size, settings["seed"])
    else:
        found, folder = inventory.survey(params.folder), inventory.folder_of(params.folder)
        if str(found):
            log.info("%s: %s", params.folder, found)
        files = splits.evenly_spaced(found.images, count)
        stream = images.folder_images(folder, files, size, snakemake.threads)
    with create_hdf5(snakemake.output[0], "images", provenance_of(params)) as file:
        kept, rejected = preparation.store(file, stream, count, size)
        if not embedded:
            hashing.require(settings["content"], folder, files, params.hashes)
            preparation.require(kept, rejected, settings["unusable"], *params.least)
