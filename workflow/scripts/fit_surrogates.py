"""Fit what an annealing expects of the maps of a layer, per noise level, on training images."""

from deep_restoration.jobs.job import job, provenance_of

with job(snakemake):
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.inversion import surrogates

    inputs, settings = snakemake.input, snakemake.params.settings
    plan = settings["anneal"]
    with open_hdf5(inputs.images, "images") as file:
        found = surrogates.of_layer(
            inputs.network,
            snakemake.wildcards.layer,
            inputs.prior,
            file,
            surrogates.schedule(plan["noise"], plan["levels"]),
            plan["components"],
            settings["held_out"],
            settings["seed"],
            plan["surrogate"],
        )
    found.save(snakemake.output[0], provenance_of(snakemake.params))
