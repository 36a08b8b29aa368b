"""Bring a classifier's weights into one self-contained file; train them where `exemplar` says so."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    from deep_restoration.files.tables import write_csv
    from deep_restoration.networks import exemplar, saved, sources

    inputs, output, settings = snakemake.input, snakemake.output, snakemake.params.settings
    architecture, colours = settings["architecture"], (settings["mean"], settings["std"])
    provenance = provenance_of(snakemake.params)
    size, used = settings["size"], snakemake.params.used
    model, steps = sources.traced(architecture, size, settings.get("seed", 0))
    checkpoint = Checkpoint(output.network, [provenance, *content_stamps(inputs.images)])
    if settings["weights"] == "exemplar":
        layer, training = settings["deepest"], exemplar.Settings(**settings["exemplar"])
        state, history, accuracy = exemplar.train_on(
            inputs.images, steps, layer, training, *colours, settings["seed"], checkpoint
        )
    else:
        layer, history, accuracy = steps[-1]["name"], [], []
        given = settings["weights"], inputs.weights, settings["sha256"]
        state = sources.weights_of(architecture, model, steps, *given, used, size)
    saved.save(output.network, steps, [layer], state, *colours, provenance)
    write_csv(output.history, exemplar.HISTORY, history)
    write_csv(output.accuracy, exemplar.ACCURACY, accuracy)
    checkpoint.remove()
