"""Train a chain of inverse modules from one layer back to the image."""

from deep_restoration.jobs.job import job, provenance_of

with job(snakemake):
    from deep_restoration.inverters import training
    from deep_restoration.runtime import parallel

    inputs, output, params = snakemake.input, snakemake.output, snakemake.params
    replicate = int(snakemake.wildcards.replicate)
    parallel.run(
        training.train_stored,
        {
            "network": inputs.network,
            "images_file": inputs.images,
            "inverter": output.inverter,
            "history": output.history,
            "layers": params.layers,
            "layer": snakemake.wildcards.layer,
            "settings": params.settings,
            "replicate": replicate,
            "provenance": provenance_of(params) | {"replicate": replicate},
        },
    )
