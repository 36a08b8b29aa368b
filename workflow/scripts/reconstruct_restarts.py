"""Reconstruct some test images of a layer, or a shard of them, again from other start noises."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime.checkpoints import content_stamps

with job(snakemake):
    from deep_restoration.data import splits
    from deep_restoration.files.hdf5 import create_hdf5, open_hdf5
    from deep_restoration.inversion import stored
    from deep_restoration.inversion.reconstructor import prepared
    from deep_restoration.jobs import shards
    from deep_restoration.runtime.memo import Memo

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output[0]
    provenance, how = provenance_of(snakemake.params), settings["restarts"]
    reconstructor, recipe = prepared(inputs, snakemake.wildcards.layer, settings)
    with open_hdf5(inputs.images, "images") as file:
        chosen = splits.evenly_spaced(list(range(len(file["images"]))), how["images"])
        mine = shards.part(len(chosen), settings["batch"], snakemake.wildcards)
        names, pixels = splits.named(file, chosen[mine])
    with open_hdf5(inputs.reconstructed, "reconstructions") as file:
        own = file["images"][chosen[mine]]
    stamps = content_stamps(inputs.images, inputs.reconstructed, *reconstructor.files)
    done = Memo(output, [provenance, recipe.facts(), *stamps])
    numbers = settings["batch"], settings["seed"], how["count"], mine.start
    further = stored.further_restarts(reconstructor, recipe, names, pixels, *numbers, done)
    with create_hdf5(output, "restarts", provenance) as file:
        stored.write_restarts(file, own, further, how["count"], pixels, names)
    done.remove()
