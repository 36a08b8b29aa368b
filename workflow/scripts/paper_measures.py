"""Measure the restored images of one layer as the papers did, for comparison with their figures."""

from deep_restoration.jobs.job import job
from deep_restoration.runtime import devices

with job(snakemake):
    import torch

    from deep_restoration.evaluation import measurement, paper_measures
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import write_csv
    from deep_restoration.networks import saved

    classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    inputs, settings, where = snakemake.input, snakemake.params.settings, devices.device()
    output = settings["output"]
    wanted = dict.fromkeys([layer, output] if output else [layer])
    network = saved.load(inputs.network, list(wanted)).to(where)
    names, pixels, guesses = measurement.read(inputs.images, inputs.train)

    def seen(batch: torch.Tensor) -> paper_measures.Seen:
        with torch.inference_mode():
            found = network(batch.to(where))
        return found[layer], found[output].flatten(1).argmax(1) if output else None

    measuring, rows = paper_measures.Measuring(seen, pixels), []

    def measure(name: str, found) -> None:
        """Append the rows of `found`, N x H x W x 3."""
        for image, values in zip(names, measuring(found), strict=True):
            rows.append((classifier, layer, name, image, *values))

    for name, guess in guesses.items():
        measure(name, measurement.everywhere(guess, pixels))
    for recipe, path in zip(settings["recipes"], inputs.restored, strict=True):
        with open_hdf5(path, "reconstructions") as file:
            measure(recipe, file["images"])
    write_csv(snakemake.output[0], paper_measures.COLUMNS, rows)
