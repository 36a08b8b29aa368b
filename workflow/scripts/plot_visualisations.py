"""Draw the pictures of one kind from every layer of a classifier."""

from deep_restoration.jobs.job import job

with job(snakemake):
    import numpy as np

    from deep_restoration.figures import galleries, visualisations
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5, read_names

    settings, layers = snakemake.params.settings, snakemake.params.settings["layers"]
    wildcards = snakemake.wildcards
    shown, labels, values, attributions = {}, {}, {}, {}
    for layer, path in zip(layers, snakemake.input.made, strict=True):
        with open_hdf5(path, "visualisation") as file:
            if wildcards.kind == "attribution":
                maps = {name: file["maps"][name][...] for name in settings["methods"]}
                places = (file[name][...] for name in ("image", "units", "extents"))
                attributions[layer] = visualisations.Attributions(*places, maps)
            else:
                shown[layer], values[layer] = file["images"][...], file["values"][...]
                labels[layer] = read_names(file)
    for path in snakemake.input.test:
        with open_hdf5(path, "images") as file:
            truth = file["images"][: settings["images"]].astype(np.float32) / 255

    words = [name.replace("_", " ") for name in (wildcards.kind, wildcards.visualisation)]
    title = f"{wildcards.classifier}: {words[0]}" + f" ({words[1]})" * (words[0] != words[1])
    if wildcards.kind == "attribution":
        figure = visualisations.attribution(truth, attributions, title)
    elif wildcards.kind == "activation_maximisation":
        figure = visualisations.maximisation(shown, labels, values, title)
    else:
        beside = {"style": np.roll(truth, -1, 0)} if settings["content"] else {}
        figure = galleries.gallery(truth, {**beside, **shown}, values, title)
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
