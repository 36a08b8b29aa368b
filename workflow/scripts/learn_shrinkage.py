"""Learn how much of a recipe's annealed images to believe at each frequency, on held-out training images."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    from deep_restoration.data import splits
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.inversion.reconstructor import learn_shrinkage, prepared

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    provenance = provenance_of(snakemake.params)
    reconstructor, recipe = prepared(inputs, snakemake.wildcards.layer, settings)
    with open_hdf5(inputs.images, "images") as file:
        names, pixels = splits.some(file, recipe.anneal.shrink, settings["held_out"])
    stamps = content_stamps(inputs.images, *reconstructor.files)
    checkpoint = Checkpoint(output[0], [provenance, *stamps])
    found = learn_shrinkage(reconstructor, recipe, pixels, names, settings["seed"], checkpoint)
    found.save(output[0], provenance)
    checkpoint.remove()
    log.info("%d images; shares of brightness by band: %s", len(names), found.rho[0].tolist())
