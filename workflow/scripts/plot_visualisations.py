"""Draw the pictures of one kind from every layer of a classifier."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np

    from deep_restoration import figures, storage, visualisation_figures

    settings, layers = snakemake.params.settings, snakemake.params.settings["layers"]
    wildcards = snakemake.wildcards
    shown, labels, values, attributions = {}, {}, {}, {}
    for layer, path in zip(layers, snakemake.input.made, strict=True):
        with storage.open_hdf5(path, "visualisation") as file:
            if wildcards.kind == "attribution":
                maps = {name: file["maps"][name][...] for name in settings["methods"]}
                places = (file[name][...] for name in ("image", "units", "extents"))
                attributions[layer] = visualisation_figures.Attributions(*places, maps)
            else:
                shown[layer], values[layer] = file["images"][...], file["values"][...]
                labels[layer] = storage.read_names(file)
    for path in snakemake.input.test:
        with storage.open_hdf5(path, "images") as file:
            truth = file["images"][: settings["images"]].astype(np.float32) / 255

    words = [name.replace("_", " ") for name in (wildcards.kind, wildcards.visualisation)]
    title = f"{wildcards.classifier}: {words[0]}" + f" ({words[1]})" * (words[0] != words[1])
    if wildcards.kind == "attribution":
        figure = visualisation_figures.attribution(truth, attributions, title)
    elif wildcards.kind == "activation_maximisation":
        figure = visualisation_figures.maximisation(shown, labels, values, title)
    else:
        beside = {"style": np.roll(truth, -1, 0)} if settings["content"] else {}
        figure = figures.gallery(truth, {**beside, **shown}, values, title)
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
