"""Bring a classifier's weights into one self-contained file; train them where `exemplar` says so."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    import torch

    from deep_restoration.files.tables import write_csv
    from deep_restoration.networks import exemplar, saved, sources
    from deep_restoration.networks.weights import constants, fit_weights

    inputs, output, settings = snakemake.input, snakemake.output, snakemake.params.settings
    architecture, colours = settings["architecture"], (settings["mean"], settings["std"])
    provenance = provenance_of(snakemake.params)
    torch.manual_seed(settings.get("seed", 0))
    model = sources.build(architecture, settings["size"])
    steps = sources.steps_of(architecture, model, settings["size"])
    checkpoint = Checkpoint(output.network, [provenance, *content_stamps(inputs.images)])
    if settings["weights"] == "exemplar":
        layer, training = settings["deepest"], exemplar.Settings(**settings["exemplar"])
        state, history, accuracy = exemplar.train_on(
            inputs.images, steps, layer, training, *colours, settings["seed"], checkpoint
        )
    else:
        layer, history, accuracy = steps[-1]["name"], [], []
        given = architecture, settings["weights"], inputs.weights, settings["sha256"]
        state, origin = sources.given_weights(*given, model, settings["size"])
        state = fit_weights(steps, snakemake.params.used, state, origin, constants(steps, model))
    saved.save(output.network, steps, [layer], state, *colours, provenance)
    write_csv(output.history, exemplar.HISTORY, history)
    write_csv(output.accuracy, exemplar.ACCURACY, accuracy)
    checkpoint.remove()
