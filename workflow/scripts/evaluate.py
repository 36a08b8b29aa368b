"""Measure the images of one layer that recipes restored: against the originals and their feature maps."""

from deep_restoration.jobs.job import job
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.evaluation import measurement, tables
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import read_rows, write_csv
    from deep_restoration.networks import saved
    from deep_restoration.statistics import comparison

    inputs, settings = snakemake.input, snakemake.params
    classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    where = devices.device()
    network = saved.load(inputs.network, [layer]).to(where)
    names, pixels, guesses = measurement.read(inputs.images, inputs.train)
    measuring = measurement.Measuring(network, names, pixels, where)
    maps, rows, distances = measurement.MapStatistics(where, **settings.statistics), [], []

    def note(name: str, measured: list[tuple], seconds: float) -> None:
        rows.extend((classifier, layer, name, *values, seconds) for values in measured)

    for name, guess in guesses.items() if settings.baselines else ():
        # The maps of equal images have no statistics.
        note(name, measuring.images(measurement.everywhere(guess, pixels)), 0.0)
    for recipe, path, trace in zip(settings.recipes, inputs.restored, inputs.traces, strict=True):
        terms = {row["term"]: row["value"] for row in read_rows(trace)}
        with open_hdf5(path, "reconstructions") as file:
            measured, compared = maps.rows(measuring, file["images"])
        note(recipe, measured, float(terms["seconds per image"]))
        for row in compared:
            distances.append((classifier, layer, recipe, len(names), *row.values()))
    write_csv(snakemake.output.images, tables.COLUMNS, rows)
    keys = ("classifier", "layer", "recipe", "images", *comparison.COMPARISON)
    write_csv(snakemake.output.maps, keys, distances)
