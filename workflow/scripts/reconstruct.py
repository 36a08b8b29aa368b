"""Reconstruct the test images, or a shard of them, from the feature maps of one layer by one recipe."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    from deep_restoration.data import splits
    from deep_restoration.files.hdf5 import create_hdf5, open_hdf5
    from deep_restoration.files.tables import write_csv
    from deep_restoration.inversion import stored
    from deep_restoration.inversion.reconstructor import prepared
    from deep_restoration.jobs import shards

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    provenance, batch, seed = provenance_of(snakemake.params), settings["batch"], settings["seed"]
    reconstructor, recipe = prepared(inputs, snakemake.wildcards.layer, settings)
    with open_hdf5(inputs.images, "images") as file:
        mine = shards.part(len(file["images"]), batch, snakemake.wildcards)
        names, pixels = splits.named(file, mine)
    key = [provenance, recipe.facts(), *content_stamps(inputs.images, *reconstructor.files)]

    def saved(number: int) -> Checkpoint:
        return Checkpoint(f"{output.images}.{number}", [*key, number])

    found = stored.batches(reconstructor, recipe, names, pixels, batch, seed, mine.start, saved)
    with create_hdf5(output.images, "reconstructions", provenance) as file:
        rows, seconds = stored.write_reconstructed(file, found, pixels.shape, names)
    write_csv(output.trace, shards.TRACE, [*rows, shards.time_row(seconds, len(names))])
