"""Search the weights and rates of one recipe for one layer on held-out training images."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    import json

    from deep_restoration.data import splits
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
    never = Checkpoint(f"{output.found}.trial", None, float("inf"))
    score = search.scoring(restorer, recipe, names, pixels, how, seed, never)
    key = [provenance_of(snakemake.params), *content_stamps(inputs.images, *restorer.files)]
    checkpoint = Checkpoint(output.found, key)
    values, rows = search.search(
        score, settings["recipe"]["search"], how["trials"], seed, checkpoint
    )
    best, measure = min(row[3] for row in rows), how["measure"]
    found = {"values": values, "score": best, "measure": measure, "images": names}
    write_csv(output.trials, search.COLUMNS, rows)
    write_text(output.found, json.dumps(found, indent=1) + "\n")
    checkpoint.remove()
    log.info("best: %s, %s %.5g", values or "as it is", measure, best)
