"""Restore all test images from the feature maps of one layer by one recipe."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np

    from deep_restoration import images, recipes, search, storage

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    provenance = runtime.provenance(snakemake.params)
    learned = {key: inputs.get(key, []) for key in ("priors", "feature_priors", "inverter")}
    recipe = search.apply(settings["recipe"], inputs.get("found"))
    restorer = recipes.Restorer(
        inputs.network, snakemake.wildcards.layer, settings["sees"], **learned
    )
    stamps = runtime.stamps(inputs.images, *restorer.files)
    with storage.open_hdf5(inputs.images, "images") as file:
        names, pixels = storage.read_names(file), file["images"][...]
    batch, restored, rows, seconds = 64, [], [], 0.0
    for start in range(0, len(names), batch):
        key = [provenance, recipe, start, *stamps]
        checkpoint = runtime.Checkpoint(f"{output.images}.{start}", key)
        part = slice(start, start + batch)
        result = restorer.restore(
            recipe, images.as_tensor(pixels[part]), names[part], settings["seed"], checkpoint
        )
        restored.append(result.images.cpu().numpy())
        rows += [(start, *row) for row in result.trace]
        seconds += result.seconds
        checkpoint.remove()
    restored = np.concatenate(restored).transpose(0, 2, 3, 1)
    with storage.create_hdf5(output.images, "reconstructions", provenance) as file:
        shape = restored.shape
        data = storage.dataset(file, "images", shape, np.float32, "sRGB, 0..1, N x H x W x 3")
        data[...] = restored
        storage.write_names(file, names)
    rows.append((0, 0, "seconds per image", seconds / len(names), seconds))
    storage.write_csv(output.trace, ("batch", "iteration", "term", "value", "seconds"), rows)
