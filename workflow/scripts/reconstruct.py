"""Restore the test images, or a shard of them, from the feature maps of one layer by one recipe."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np

    from deep_restoration import images, recipes, search, shards, storage

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    provenance, batch = runtime.provenance(snakemake.params), settings["batch"]
    recipe = search.apply(settings["recipe"], inputs.get("found"))
    restorer = recipes.Restorer.of(inputs, snakemake.wildcards.layer, settings["sees"])
    stamps = runtime.stamps(inputs.images, *restorer.files)
    with storage.open_hdf5(inputs.images, "images") as file:
        names = storage.read_names(file)
        mine = shards.part(len(names), batch, snakemake.wildcards)
        names, pixels = names[mine], file["images"][mine]
    rows, seconds = [], 0.0
    with storage.create_hdf5(output.images, "reconstructions", provenance) as file:
        units = "sRGB, 0..1, N x H x W x 3"
        data = storage.dataset(file, "images", pixels.shape, np.float32, units)
        for start in range(0, len(names), batch):
            first, part = mine.start + start, slice(start, start + batch)
            key = [provenance, recipe, first, *stamps]
            checkpoint = runtime.Checkpoint(f"{output.images}.{first}", key)
            result = restorer.restore(
                recipe, images.as_tensor(pixels[part]), names[part], settings["seed"], checkpoint
            )
            data[part] = result.images.permute(0, 2, 3, 1).cpu().numpy()
            rows += [(first, *row) for row in result.trace]
            seconds += result.seconds
            checkpoint.remove()
        storage.write_names(file, names)
    rows.append(shards.time_row(seconds, len(names)))
    storage.write_csv(output.trace, shards.TRACE, rows)
