"""Search the weights and rates of one recipe for one layer on held-out training images."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import json
    import math

    import numpy as np

    from deep_restoration import images, metrics, recipes, search, storage

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    recipe, how, seed = settings["recipe"], settings["search"], settings["seed"]
    restorer = recipes.Restorer.of(inputs, snakemake.wildcards.layer, settings["sees"])
    with storage.open_hdf5(inputs.images, "images") as file:
        names, pixels = images.some(file, how["images"], settings["held_out"])
    truth = pixels.astype(np.float64) / 255
    never = runtime.Checkpoint(f"{output.found}.trial", None, math.inf)

    def score(values: search.Values) -> float:
        tried = search.shorter(search.replace(recipe, values), how["iterations"])
        result = restorer.restore(
            tried, images.as_tensor(pixels), names, seed, never, watched=False
        )
        restored = result.images.permute(0, 2, 3, 1).cpu().numpy()
        if how["measure"] == "ssim":
            return 1 - float(metrics.ssim(truth, restored).mean())
        return float(metrics.mse(truth, restored).mean())

    stamps = runtime.stamps(inputs.images, *restorer.files)
    key = [runtime.provenance(snakemake.params), *stamps]
    checkpoint = runtime.Checkpoint(output.found, key)
    values, rows = search.search(score, recipe["search"], how["trials"], seed, checkpoint)
    best = min(row[3] for row in rows)
    found = {"values": values, "score": best, "measure": how["measure"], "images": names}
    storage.write_csv(output.trials, search.COLUMNS, rows)
    storage.write_text(output.found, json.dumps(found, indent=1) + "\n")
    checkpoint.remove()
    runtime.log.info("best: %s, %s %.5g", values or "as it is", how["measure"], best)
