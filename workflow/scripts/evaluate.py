"""Measure images reconstructed from one layer against the originals and their feature maps."""

from deep_restoration.jobs.job import job
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.evaluation import measurement, tables
    from deep_restoration.files.tables import write_csv
    from deep_restoration.networks import saved
    from deep_restoration.statistics import comparison

    inputs, settings, where = snakemake.input, snakemake.params, devices.device()
    place = classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    network = saved.load(inputs.network, [layer]).to(where)
    names, pixels, guesses = measurement.read(inputs.images, inputs.train)
    measuring = measurement.Measuring(network, names, pixels, where)
    statistics = measurement.MapStatistics(where, **settings.statistics)
    rows, distances = [], []
    if settings.baselines:
        rows += [(*place, *row) for row in measurement.of_guesses(measuring, guesses)]
    for recipe, *paths in zip(settings.recipes, inputs.reconstructed, inputs.traces, strict=True):
        measured, compared = measurement.of_reconstructed(measuring, statistics, *paths)
        rows += [(*place, recipe, *row) for row in measured]
        distances += [(*place, recipe, *row) for row in compared]
    write_csv(snakemake.output.images, tables.COLUMNS, rows)
    columns = ("classifier", "layer", "recipe", "images", *comparison.COMPARISON)
    write_csv(snakemake.output.maps, columns, distances)
