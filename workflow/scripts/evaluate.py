"""Measure the images of one layer that recipes restored: against the originals and their feature maps."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import classifiers, evaluation, metrics, statistics, storage

    inputs, settings = snakemake.input, snakemake.params
    classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    where = runtime.device()
    network = classifiers.load(inputs.network, [layer]).to(where)
    names, pixels, guesses = evaluation.read(inputs.images, inputs.train)
    measuring = evaluation.Measuring(network, names, pixels, where)
    maps, rows, distances = evaluation.MapStatistics(where, **settings.statistics), [], []

    def note(name: str, measured: list[tuple], seconds: float) -> None:
        rows.extend((classifier, layer, name, *values, seconds) for values in measured)

    for name, guess in guesses.items() if settings.baselines else ():
        # The maps of equal images have no statistics.
        note(name, measuring.images(evaluation.everywhere(guess, pixels)), 0.0)
    for recipe, path, trace in zip(settings.recipes, inputs.restored, inputs.traces, strict=True):
        terms = {row["term"]: row["value"] for row in storage.read_rows(trace)}
        with storage.open_hdf5(path, "reconstructions") as file:
            measured, compared = maps.rows(measuring, file["images"])
        note(recipe, measured, float(terms["seconds per image"]))
        for row in compared:
            distances.append((classifier, layer, recipe, len(names), *row.values()))
    storage.write_csv(snakemake.output.images, metrics.COLUMNS, rows)
    keys = ("classifier", "layer", "recipe", "images", *statistics.COMPARISON)
    storage.write_csv(snakemake.output.maps, keys, distances)
