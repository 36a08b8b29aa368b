"""Train a chain of inverse modules from one layer back to the image."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import classifiers, images, inverter_training, inverters, storage

    settings = dict(snakemake.params.settings)
    replicate, seed = int(snakemake.wildcards.replicate), settings.pop("seed")
    plan = {key: settings.pop(key) for key in ("width", "kind", "modules")}
    provenance = runtime.provenance(snakemake.params) | {"replicate": replicate}
    inputs, output = snakemake.input, snakemake.output
    with storage.open_hdf5(inputs.images, "images") as file:
        data = file["images"]
        specs = inverters.plan_chain(snakemake.params.layers, snakemake.wildcards.layer, **plan)
        network = classifiers.load(inputs.network, [spec.source for spec in specs])
        stamps = runtime.stamps(inputs.network, inputs.images)
        checkpoint = runtime.Checkpoint(output.inverter, [provenance, *stamps])
        chain, history = inverter_training.train(
            network,
            specs,
            lambda indices: images.as_tensor(data[indices]),
            len(data),
            inverter_training.Settings(**settings),
            seed,
            replicate,
            checkpoint,
        )
    inverters.save(output.inverter, chain, provenance)
    storage.write_csv(output.history, inverter_training.COLUMNS, history)
    checkpoint.remove()
    runtime.log.info("best validation image error %.5f", min(row[3] for row in history))
