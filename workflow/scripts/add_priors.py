"""Add priors of feature maps to a recipe in three orders, and measure what each addition is worth."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np

    from deep_restoration import adding, baselines, images, memo, recipes, search, storage

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    names, how, seed = snakemake.wildcards, settings["adding"], settings["seed"]
    provenance = runtime.provenance(snakemake.params)
    recipe = search.apply(settings["recipe"], inputs.get("found"))
    restorer = recipes.Restorer.of(inputs, names.layer, settings["sees"])

    sets = {}
    for name, path, share in (
        ("held_out", inputs.held_out, settings["held_out"]),
        ("test", inputs.images, None),
    ):
        with storage.open_hdf5(path, "images") as file:
            sets[name] = images.some(file, how["images" if share else "test"], share)
    stamps = runtime.stamps(inputs.held_out, inputs.images, *restorer.files)
    done = memo.Memo(output.images, [provenance, recipe, *stamps])
    trials = adding.Trials(restorer, recipe, how["prior"], sets, seed, done)
    orders = adding.add(settings["candidates"], how["weights"], trials.score)
    for step in (step for steps in orders.values() for step in steps):
        trials("test", step.chosen)
    found = (trials.found[name] for name in sets)
    with storage.open_hdf5(inputs.held_out, "images") as file:
        pictures = baselines.pictures(file["mean"][...])
    guesses = {name: trials.guessed(guess) for name, guess in pictures.items()}
    rows = adding.summarise(orders, *found, sets["test"][0], seed, guesses)
    with storage.create_hdf5(output.images, "adding", provenance) as file:
        file.attrs["sets"] = list(trials.pictures)
        restored = np.stack(list(trials.pictures.values()))
        units = "sRGB, 0..1, sets x H x W x 3, of the first test image"
        storage.write_array(file, "restored", restored.astype(np.float32), units)
        units = "sRGB, 0..255, 1 x H x W x 3"
        storage.write_array(file, "original", sets["test"][1][:1], units)
    storage.write_csv(output.trials, adding.TRIALS, trials.rows())
    where = (names.classifier, names.layer)
    storage.write_csv(output.table, adding.COLUMNS, [(*where, *row) for row in rows])
    done.remove()
