"""Reconstruct the test images of one layer by every inverse network, and measure them."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.evaluation import measurement, tables
    from deep_restoration.files.hdf5 import create_hdf5, write_arrays
    from deep_restoration.files.tables import write_csv
    from deep_restoration.inverters import comparison
    from deep_restoration.networks import saved

    inputs, output, settings = snakemake.input, snakemake.output, snakemake.params.settings
    place = classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    where = devices.device()
    network = saved.load(inputs.network, [layer]).to(where)
    names, pixels, guesses = measurement.read(inputs.images, inputs.train)
    measuring = measurement.Measuring(network, names, pixels, where)
    rows = comparison.of_guesses(measuring, guesses)
    kinds, regimes = settings["kinds"], settings["regimes"]
    more, shown = comparison.of_files(measuring, inputs.inverters, kinds, regimes)
    write_csv(output.table, tables.INVERTER_COLUMNS, [(*place, *row) for row in rows + more])
    with create_hdf5(output.images, "inversions", provenance_of(snakemake.params)) as file:
        write_arrays(file, shown, "sRGB, 0..1, N x H x W x 3")
