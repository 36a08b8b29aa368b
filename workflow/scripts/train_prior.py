"""Train a learned prior on images or on the feature maps of a layer, and calibrate it."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime.checkpoints import content_stamps

with job(snakemake):
    from deep_restoration.files.tables import write_csv
    from deep_restoration.priors import training

    inputs, output = snakemake.input, snakemake.output
    provenance = provenance_of(snakemake.params)
    patches = next(iter(inputs.get("patches", [])), None)
    prior, history = training.train(
        snakemake.params.settings,
        inputs.maps,
        patches,
        output.prior,
        [provenance, *content_stamps(inputs.maps, patches or "")],
    )
    prior.save(output.prior, provenance)
    columns = ("step", "objective", "held_out_objective", "seconds")
    write_csv(output.history, columns, history)
    log.info("held-out objective %.4f", prior.facts["held_out_objective"])
