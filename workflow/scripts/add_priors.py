"""Add priors of feature maps to a recipe in three orders, and measure what each addition is worth."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime.checkpoints import content_stamps

with job(snakemake):
    import numpy as np

    from deep_restoration.data import splits
    from deep_restoration.evaluation import baselines
    from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, write_array
    from deep_restoration.files.tables import write_csv
    from deep_restoration.inversion import prior_selection
    from deep_restoration.inversion.recipe import Recipe
    from deep_restoration.inversion.restorer import Restorer
    from deep_restoration.runtime.memo import Memo

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    names, how, seed = snakemake.wildcards, settings["adding"], settings["seed"]
    provenance = provenance_of(snakemake.params)
    recipe = Recipe.of(settings["recipe"], inputs.get("found"))
    restorer = Restorer.of(inputs, names.layer, settings["sees"])

    sets = {}
    for name, path, share in (
        ("held_out", inputs.held_out, settings["held_out"]),
        ("test", inputs.images, None),
    ):
        with open_hdf5(path, "images") as file:
            sets[name] = splits.some(file, how["images" if share else "test"], share)
    stamps = content_stamps(inputs.held_out, inputs.images, *restorer.files)
    done = Memo(output.images, [provenance, recipe.facts(), *stamps])
    trials = prior_selection.Trials(restorer, recipe, how["prior"], sets, seed, done)
    orders = prior_selection.add(settings["candidates"], how["weights"], trials.score)
    for step in (step for steps in orders.values() for step in steps):
        trials("test", step.chosen)
    found = (trials.found[name] for name in sets)
    with open_hdf5(inputs.held_out, "images") as file:
        pictures = baselines.pictures(file["mean"][...])
    guesses = {name: trials.guessed(guess) for name, guess in pictures.items()}
    rows = prior_selection.summarise(orders, *found, sets["test"][0], seed, guesses)
    with create_hdf5(output.images, "adding", provenance) as file:
        file.attrs["sets"] = list(trials.pictures)
        restored = np.stack(list(trials.pictures.values()))
        units = "sRGB, 0..1, sets x H x W x 3, of the first test image"
        write_array(file, "restored", restored.astype(np.float32), units)
        units = "sRGB, 0..255, 1 x H x W x 3"
        write_array(file, "original", sets["test"][1][:1], units)
    write_csv(output.trials, prior_selection.TRIALS, trials.rows())
    where = (names.classifier, names.layer)
    write_csv(output.table, prior_selection.COLUMNS, [(*where, *row) for row in rows])
    done.remove()
