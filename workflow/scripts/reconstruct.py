"""Restore the test images, or a shard of them, from the feature maps of one layer by one recipe."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    import numpy as np

    from deep_restoration.data import images
    from deep_restoration.files.hdf5 import (
        create_dataset,
        create_hdf5,
        open_hdf5,
        read_names,
        write_names,
    )
    from deep_restoration.files.tables import write_csv
    from deep_restoration.inversion.recipe import Recipe
    from deep_restoration.inversion.restorer import Restorer
    from deep_restoration.jobs import shards

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    provenance, batch = provenance_of(snakemake.params), settings["batch"]
    recipe = Recipe.of(settings["recipe"], inputs.get("found"))
    restorer = Restorer.of(inputs, snakemake.wildcards.layer, settings["sees"])
    stamps = content_stamps(inputs.images, *restorer.files)
    with open_hdf5(inputs.images, "images") as file:
        names = read_names(file)
        mine = shards.part(len(names), batch, snakemake.wildcards)
        names, pixels = names[mine], file["images"][mine]
    rows, seconds = [], 0.0
    with create_hdf5(output.images, "reconstructions", provenance) as file:
        units = "sRGB, 0..1, N x H x W x 3"
        data = create_dataset(file, "images", pixels.shape, np.float32, units)
        for start in range(0, len(names), batch):
            first, part = mine.start + start, slice(start, start + batch)
            key = [provenance, recipe.facts(), first, *stamps]
            checkpoint = Checkpoint(f"{output.images}.{first}", key)
            result = restorer.restore(
                recipe, images.as_tensor(pixels[part]), names[part], settings["seed"], checkpoint
            )
            data[part] = result.images.permute(0, 2, 3, 1).cpu().numpy()
            rows += [(first, *row) for row in result.trace]
            seconds += result.seconds
            checkpoint.remove()
        write_names(file, names)
    rows.append(shards.time_row(seconds, len(names)))
    write_csv(output.trace, shards.TRACE, rows)
