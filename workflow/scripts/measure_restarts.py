"""Measure how far the images reconstructed from several restarts lie apart, and what their mean is worth."""

from deep_restoration.jobs.job import job
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.evaluation import baselines, measurement, restarts
    from deep_restoration.files.tables import write_csv
    from deep_restoration.networks import saved

    inputs, params, where = snakemake.input, snakemake.params, devices.device()
    place = classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    maps = measurement.maps_of(saved.load(inputs.network, [layer]).to(where), where)
    guesses, rows = baselines.read(inputs.train), []
    for recipe, path in zip(params.recipes, inputs.restarts, strict=True):
        rows += measurement.of_restarts_in(maps, recipe, path, guesses)
        guesses = {}  # the same whatever the recipe
    write_csv(snakemake.output[0], restarts.COLUMNS, [(*place, *row) for row in rows])
