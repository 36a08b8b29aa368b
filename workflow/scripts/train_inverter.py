"""Train a chain of inverse modules from one layer back to the image."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import inverter_training, parallel

    inputs, output, params = snakemake.input, snakemake.output, snakemake.params
    replicate = int(snakemake.wildcards.replicate)
    parallel.run(
        inverter_training.train_stored,
        {
            "network": inputs.network,
            "images_file": inputs.images,
            "inverter": output.inverter,
            "history": output.history,
            "layers": params.layers,
            "layer": snakemake.wildcards.layer,
            "settings": params.settings,
            "replicate": replicate,
            "provenance": runtime.provenance(params) | {"replicate": replicate},
        },
    )
