"""Make one kind of picture from one layer of a classifier."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    from contextlib import ExitStack

    import numpy as np
    import torch

    from deep_restoration.data import images
    from deep_restoration.files.hdf5 import (
        create_hdf5,
        open_hdf5,
        read_names,
        write_array,
        write_names,
    )
    from deep_restoration.inversion import visualisation
    from deep_restoration.inversion.recipe import Recipe
    from deep_restoration.networks import sources

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    entry, seed, layers = (settings[key] for key in ("entry", "seed", "layers"))
    recipe = Recipe.of(settings["plan"])
    provenance = provenance_of(snakemake.params)
    content = entry.get("content")
    visualiser = visualisation.Visualiser(
        inputs.network,
        snakemake.wildcards.layer,
        settings["sees"],
        [*layers, *([content["layer"]] if content else [])],
        inputs.priors,
        inputs.feature_priors,
    )
    stamps = content_stamps(*inputs.train, *inputs.test, *visualiser.files)
    checkpoint = Checkpoint(output[0], [provenance, *stamps])
    with ExitStack() as opened:
        train, test = (
            [opened.enter_context(open_hdf5(path, "images")) for path in paths]
            for paths in (inputs.train, inputs.test)
        )

        def training():
            count = entry["training_images"]
            return visualisation.training_batches(train[0], count, settings["held_out"])

        for file in test:
            names = read_names(file)[: entry["images"]]
            tested = images.as_tensor(file["images"][: entry["images"]])
        if entry["kind"] == "activation_maximisation":
            known = []
            if entry["of"] == "class":
                known = sources.class_names(settings["architecture"], settings["channels"])
            made = visualiser.maximise(
                recipe,
                entry["of"],
                entry["units"],
                training,
                settings["size"],
                seed,
                checkpoint,
                known,
                entry["leak"],
            )
        elif entry["kind"] == "caricature":
            made = visualiser.caricature(recipe, tested, names, seed, checkpoint)
        elif entry["kind"] == "texture":
            made = visualiser.texture(
                recipe, layers, tested, names, seed, checkpoint, entry["relative"], content
            )
        else:
            made = visualiser.attribute(entry["methods"], entry["channels"], tested, training)
    with create_hdf5(output[0], "visualisation", provenance) as file:

        def store(name, pictures, units):
            array = pictures.permute(0, 2, 3, 1).cpu().numpy()
            write_array(file, name, array.astype(np.float32), units)

        if entry["kind"] == "attribution":
            for name in ("image", "units", "extents"):
                write_array(file, name, getattr(made, name))
            for method, maps in made.maps.items():
                store(f"maps/{method}", maps, "sensitivity, K x H x W x 3")
        else:
            store("images", made.images, "sRGB, 0..1, N x H x W x 3")
            write_names(file, made.labels)
            write_array(file, "values", torch.as_tensor(made.values).cpu().numpy())
            file.attrs["measure"] = made.measure
    checkpoint.remove()
