"""Train a learned prior on images or on the feature maps of a layer, and calibrate it."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import storage
    from deep_restoration.priors import training

    inputs, output = snakemake.input, snakemake.output
    provenance = runtime.provenance(snakemake.params)
    patches = next(iter(inputs.get("patches", [])), None)
    prior, history = training.fit(
        snakemake.params.settings,
        inputs.maps,
        patches,
        output.prior,
        [provenance, *runtime.stamps(inputs.maps, patches or "")],
    )
    prior.save(output.prior, provenance)
    columns = ("step", "objective", "held_out_objective", "seconds")
    storage.write_csv(output.history, columns, history)
    runtime.log.info("held-out objective %.4f", prior.facts["held_out_objective"])
