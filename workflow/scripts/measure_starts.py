"""Measure how far the images restored from several starts lie apart, and what their mean is worth."""

from deep_restoration.jobs.job import job
from deep_restoration.runtime import devices

with job(snakemake):
    import numpy as np

    from deep_restoration.evaluation import baselines, measurement, restarts
    from deep_restoration.files.hdf5 import open_hdf5, read_names
    from deep_restoration.files.tables import write_csv
    from deep_restoration.networks import saved

    inputs, layer = snakemake.input, snakemake.wildcards.layer
    where, rows = devices.device(), []
    maps = measurement.maps_of(saved.load(inputs.network, [layer]).to(where), where)

    def measure(recipe: str, names: list[str], truth: np.ndarray, images: np.ndarray) -> None:
        """Append the rows of `images`, starts x N x H x W x 3."""
        measured = measurement.of_starts(maps, names, truth, images)
        called = snakemake.wildcards.classifier, layer, recipe
        rows.extend((*called, name, len(images), *values) for name, *values in measured)

    for index, (recipe, path) in enumerate(
        zip(snakemake.params.recipes, inputs.starts, strict=True)
    ):
        with open_hdf5(path, "starts") as file:
            names, truth = read_names(file), file["originals"][...]
            images = file["images"][...]
        if not index:  # the same whatever the start
            with open_hdf5(inputs.train, "images") as file:
                guesses = baselines.pictures(file["mean"][...])
            for name, guess in guesses.items():
                measure(name, names, truth, np.broadcast_to(guess, images.shape))
        measure(recipe, names, truth, images)
    write_csv(snakemake.output[0], restarts.COLUMNS, rows)
