"""Search the weights and rates of one recipe for one layer on held-out training images."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    import json
    import math

    import numpy as np

    from deep_restoration.data import images, splits
    from deep_restoration.evaluation import metrics
    from deep_restoration.files.atomic import write_text
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import write_csv
    from deep_restoration.inversion import search
    from deep_restoration.inversion.recipe import Recipe
    from deep_restoration.inversion.restorer import Restorer

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    how, seed = settings["search"], settings["seed"]
    recipe = Recipe.of(settings["recipe"])
    restorer = Restorer.of(inputs, snakemake.wildcards.layer, settings["sees"])
    with open_hdf5(inputs.images, "images") as file:
        names, pixels = splits.some(file, how["images"], settings["held_out"])
    truth = pixels.astype(np.float64) / 255
    never = Checkpoint(f"{output.found}.trial", None, math.inf)

    def score(values: dict[str, float]) -> float:
        tried = recipe.with_values(values).shorter(how["iterations"])
        result = restorer.restore(
            tried, images.as_tensor(pixels), names, seed, never, watched=False
        )
        restored = result.images.permute(0, 2, 3, 1).cpu().numpy()
        if how["measure"] == "ssim":
            return 1 - float(metrics.ssim(truth, restored).mean())
        return float(metrics.mse(truth, restored).mean())

    stamps = content_stamps(inputs.images, *restorer.files)
    key = [provenance_of(snakemake.params), *stamps]
    checkpoint = Checkpoint(output.found, key)
    values, rows = search.search(
        score, settings["recipe"]["search"], how["trials"], seed, checkpoint
    )
    best = min(row[3] for row in rows)
    found = {"values": values, "score": best, "measure": how["measure"], "images": names}
    write_csv(output.trials, search.COLUMNS, rows)
    write_text(output.found, json.dumps(found, indent=1) + "\n")
    checkpoint.remove()
    log.info("best: %s, %s %.5g", values or "as it is", how["measure"], best)
