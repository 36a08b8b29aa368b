"""Measure the reconstructed images of one layer as the papers did, for comparison with their figures."""

from deep_restoration.jobs.job import job
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.evaluation import measurement, paper_measures
    from deep_restoration.files.hdf5 import open_images
    from deep_restoration.files.tables import write_csv
    from deep_restoration.networks import saved

    place = classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    inputs, settings, where = snakemake.input, snakemake.params.settings, devices.device()
    output = settings["output"]
    wanted = dict.fromkeys([layer, output] if output else [layer])
    network = saved.load(inputs.network, list(wanted)).to(where)
    names, pixels, guesses = measurement.read(inputs.images, inputs.train)
    seen = paper_measures.seeing(network, layer, output, where)
    measuring = paper_measures.Measuring(seen, pixels)
    shown = {name: measurement.everywhere(guess, pixels) for name, guess in guesses.items()}
    reconstructed = dict(zip(settings["recipes"], inputs.reconstructed, strict=True))
    with open_images(reconstructed, "reconstructions") as found:
        rows = [
            (*place, name, image, *values)
            for name, images in (shown | found).items()
            for image, values in zip(names, measuring(images), strict=True)
        ]
    write_csv(snakemake.output[0], paper_measures.COLUMNS, rows)
