"""Restore the test images of one layer by every inverse network, and measure them."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime import devices

with job(snakemake):
    from pathlib import Path

    import numpy as np

    from deep_restoration.evaluation import measurement, tables
    from deep_restoration.files.hdf5 import create_hdf5, write_array
    from deep_restoration.files.tables import write_csv
    from deep_restoration.inverters.chain import load_chain
    from deep_restoration.networks import saved

    wildcards, settings = snakemake.wildcards, snakemake.params.settings
    layer, where = wildcards.layer, devices.device()
    network = saved.load(snakemake.input.network, [layer]).to(where)
    names, pixels, guesses = measurement.read(snakemake.input.images, snakemake.input.train)
    measuring = measurement.Measuring(network, names, pixels, where)
    rows, shown = [], {}

    def measure(described: tuple, image_of) -> np.ndarray:
        """Append the rows of what `image_of` makes of the target maps; the first such image."""
        measured, first = measuring.inversions(image_of)
        rows.extend((wildcards.classifier, layer, *described, *values) for values in measured)
        return first

    for name, guess in guesses.items():
        measure((name, "", "", 0), measuring.always(guess))
    for path in map(Path, snakemake.input.inverters):
        inverter, replicate = path.parent.name, int(path.stem)
        described = inverter, settings["kinds"][inverter], settings["regimes"][inverter], replicate
        restored = measure(described, load_chain(path).to(where).image)
        if replicate == 0:
            shown[inverter] = restored
    columns = ("classifier", "layer", "inverter", "kind", "regime", "replicate", "image")
    write_csv(snakemake.output.table, (*columns, *tables.INVERTER_MEASURES), rows)
    provenance = provenance_of(snakemake.params)
    with create_hdf5(snakemake.output.images, "inversions", provenance) as file:
        for inverter, restored in shown.items():
            units = "sRGB, 0..1, N x H x W x 3"
            write_array(file, inverter, restored.astype(np.float32), units)
