"""Bring a classifier's weights into one self-contained file; train them where `exemplar` says so."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import torch

    from deep_restoration import classifiers, exemplar, storage

    settings, output = snakemake.params.settings, snakemake.output
    mean, std = settings["mean"], settings["std"]
    model = classifiers.build(settings["architecture"])
    steps = classifiers.steps_of(settings["architecture"], model)
    history, accuracy = [], []
    provenance = runtime.provenance(snakemake.params)
    checkpoint = runtime.Checkpoint(
        output.network, [provenance, *runtime.stamps(snakemake.input.images)]
    )
    if settings["weights"] == "exemplar":
        layers = [settings["deepest"]]
        with storage.open_hdf5(snakemake.input.images, "images") as file:
            images = torch.from_numpy(file["images"][...]).permute(0, 3, 1, 2)
        training = exemplar.Settings(**settings["exemplar"])
        state, history, right = exemplar.train(
            steps, layers[0], images, training, mean, std, settings["seed"], checkpoint
        )
        classes = min(training.exemplars, len(images))
        accuracy.append(("new views of the exemplars", right, 1 / classes, classes))
        runtime.log.info("accuracy on new views %.3f, chance %.4f", right, 1 / classes)
    else:
        layers = [steps[-1]["name"]]
        if settings["weights"] == "file":
            path = str(snakemake.input.weights)
            state = classifiers.read_weights(path, settings["sha256"])
        else:
            path = settings["weights"]
            state = classifiers.published_weights(settings["architecture"], path)
        own = classifiers.constants(steps, model)
        state = classifiers.fit(steps, snakemake.params.used, state, path, own)
    classifiers.save(output.network, steps, layers, state, mean, std, provenance)
    storage.write_csv(output.history, ("step", "loss", "accuracy", "seconds"), history)
    storage.write_csv(output.accuracy, ("task", "accuracy", "chance", "classes"), accuracy)
    checkpoint.remove()
