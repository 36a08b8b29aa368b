"""Restore some test images of one layer, or a shard of them, by one recipe from further starts, beside the
one they have."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np

    from deep_restoration import images, inventory, memo, recipes, search, shards, starts, storage

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output[0]
    provenance, how = runtime.provenance(snakemake.params), settings["starts"]
    recipe = search.apply(settings["recipe"], inputs.get("found"))
    restorer = recipes.Restorer.of(inputs, snakemake.wildcards.layer, settings["sees"])
    with storage.open_hdf5(inputs.images, "images") as file:
        chosen = inventory.spread(list(range(len(file["images"]))), how["images"])
        mine = shards.part(len(chosen), settings["batch"], snakemake.wildcards)
        chosen = chosen[mine]
        names, pixels = np.array(storage.read_names(file))[chosen].tolist(), file["images"][chosen]
    stamps = runtime.stamps(inputs.images, inputs.restored, *restorer.files)
    done = memo.Memo(output, [provenance, recipe, *stamps])

    def restore(start: int, part: slice) -> np.ndarray:
        def compute(checkpoint: runtime.Checkpoint) -> tuple:
            truth = images.as_tensor(pixels[part])
            seed = starts.seed_of_start(settings["seed"], start)
            result = restorer.restore(recipe, truth, names[part], seed, checkpoint, watched=False)
            return result.images.cpu(), {"seconds": result.seconds}

        found, _ = done(f"start {start}, images from {mine.start + part.start}", compute)
        return found.permute(0, 2, 3, 1).numpy()

    with storage.create_hdf5(output, "starts", provenance) as file:
        shape, units = (how["count"], *pixels.shape), "sRGB, 0..1, starts x N x H x W x 3"
        data = storage.dataset(file, "images", shape, np.float32, units, samples=1)
        with storage.open_hdf5(inputs.restored, "reconstructions") as restored:
            data[0] = restored["images"][chosen]
        for start in range(1, how["count"]):
            for first in range(0, len(names), settings["batch"]):
                part = slice(first, first + settings["batch"])
                data[start, part] = restore(start, part)
        units = "sRGB, 0..255, N x H x W x 3"
        originals = storage.dataset(file, "originals", pixels.shape, np.uint8, units)
        originals[...] = pixels
        storage.write_names(file, names)
    done.remove()
