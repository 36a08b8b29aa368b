"""Bring a classifier's weights into one self-contained file; train them where `exemplar` says so."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    import torch

    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import write_csv
    from deep_restoration.networks import exemplar, saved, sources
    from deep_restoration.networks.weights import constants, fit_weights, read_weights

    settings, output = snakemake.params.settings, snakemake.output
    mean, std = settings["mean"], settings["std"]
    model = sources.build(settings["architecture"])
    steps = sources.steps_of(settings["architecture"], model)
    history, accuracy = [], []
    provenance = provenance_of(snakemake.params)
    checkpoint = Checkpoint(output.network, [provenance, *content_stamps(snakemake.input.images)])
    if settings["weights"] == "exemplar":
        layers = [settings["deepest"]]
        with open_hdf5(snakemake.input.images, "images") as file:
            images = torch.from_numpy(file["images"][...]).permute(0, 3, 1, 2)
        training = exemplar.Settings(**settings["exemplar"])
        state, history, right = exemplar.train(
            steps, layers[0], images, training, mean, std, settings["seed"], checkpoint
        )
        classes = min(training.exemplars, len(images))
        accuracy.append(("new views of the exemplars", right, 1 / classes, classes))
        log.info("accuracy on new views %.3f, chance %.4f", right, 1 / classes)
    else:
        layers = [steps[-1]["name"]]
        if settings["weights"] == "file":
            path = str(snakemake.input.weights)
            state = read_weights(path, settings["sha256"])
        else:
            path = settings["weights"]
            state = sources.published_weights(settings["architecture"], path)
        own = constants(steps, model)
        state = fit_weights(steps, snakemake.params.used, state, path, own)
    saved.save(output.network, steps, layers, state, mean, std, provenance)
    write_csv(output.history, ("step", "loss", "accuracy", "seconds"), history)
    write_csv(output.accuracy, ("task", "accuracy", "chance", "classes"), accuracy)
    checkpoint.remove()
