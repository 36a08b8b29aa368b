"""Restore some test images of one layer, or a shard of them, by one recipe from further starts, beside the
one they have."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    import numpy as np

    from deep_restoration.data import images, splits
    from deep_restoration.evaluation import restarts
    from deep_restoration.files.hdf5 import (
        create_dataset,
        create_hdf5,
        open_hdf5,
        read_names,
        write_names,
    )
    from deep_restoration.inversion.recipe import Recipe
    from deep_restoration.inversion.restorer import Restorer
    from deep_restoration.jobs import shards
    from deep_restoration.runtime.memo import Memo

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output[0]
    provenance, how = provenance_of(snakemake.params), settings["starts"]
    recipe = Recipe.of(settings["recipe"], inputs.get("found"))
    restorer = Restorer.of(inputs, snakemake.wildcards.layer, settings["sees"])
    with open_hdf5(inputs.images, "images") as file:
        chosen = splits.evenly_spaced(list(range(len(file["images"]))), how["images"])
        mine = shards.part(len(chosen), settings["batch"], snakemake.wildcards)
        chosen = chosen[mine]
        names, pixels = np.array(read_names(file))[chosen].tolist(), file["images"][chosen]
    stamps = content_stamps(inputs.images, inputs.restored, *restorer.files)
    done = Memo(output, [provenance, recipe.facts(), *stamps])

    def restore(start: int, part: slice) -> np.ndarray:
        def compute(checkpoint: Checkpoint) -> tuple:
            truth = images.as_tensor(pixels[part])
            seed = restarts.seed_of_start(settings["seed"], start)
            result = restorer.restore(recipe, truth, names[part], seed, checkpoint, watched=False)
            return result.images.cpu(), {"seconds": result.seconds}

        found, _ = done(f"start {start}, images from {mine.start + part.start}", compute)
        return found.permute(0, 2, 3, 1).numpy()

    with create_hdf5(output, "starts", provenance) as file:
        shape, units = (how["count"], *pixels.shape), "sRGB, 0..1, starts x N x H x W x 3"
        data = create_dataset(file, "images", shape, np.float32, units, samples=1)
        with open_hdf5(inputs.restored, "reconstructions") as restored:
            data[0] = restored["images"][chosen]
        for start in range(1, how["count"]):
            for first in range(0, len(names), settings["batch"]):
                part = slice(first, first + settings["batch"])
                data[start, part] = restore(start, part)
        units = "sRGB, 0..255, N x H x W x 3"
        originals = create_dataset(file, "originals", pixels.shape, np.uint8, units)
        originals[...] = pixels
        write_names(file, names)
    done.remove()
