"""Train a chain of inverse modules from one layer back to the image."""

from deep_restoration import runtime

with runtime.job(snakemake.log[0], snakemake.threads):
    from deep_restoration import classifiers, images, inverters, storage

    settings, layer = dict(snakemake.params.settings), snakemake.wildcards.layer
    seed = settings.pop("seed")
    settings = inverters.Settings(**settings)
    provenance = runtime.provenance(snakemake.params)
    inputs, output = snakemake.input, snakemake.output
    with storage.open_hdf5(inputs.images, "images") as file:
        data = file["images"]
        specs = inverters.plan_chain(snakemake.params.layers, layer, settings.width)
        network = classifiers.load(inputs.network, [spec.source for spec in specs])
        stamps = runtime.stamps(inputs.network, inputs.images)
        checkpoint = runtime.Checkpoint(output.inverter, [provenance, *stamps])
        chain, history = inverters.train(
            network,
            specs,
            lambda indices: images.as_tensor(data[indices]),
            len(data),
            settings,
            seed,
            checkpoint,
        )
    inverters.save(output.inverter, chain, provenance)
    columns = ("step", "loss", "image_error", "validation_image_error", "seconds")
    storage.write_csv(output.history, columns, history)
    checkpoint.remove()
    runtime.log.info("best validation image error %.5f", min(row[3] for row in history))
