"""Draw the pictures of one kind from every layer of a classifier."""

from deep_restoration.jobs.job import job

with job(snakemake):
    import numpy as np

    from deep_restoration.data import images
    from deep_restoration.figures import galleries, visualisations
    from deep_restoration.figures.style import save_figure

    settings, inputs, names = snakemake.params.settings, snakemake.input, snakemake.wildcards
    title = visualisations.heading(names.classifier, names.kind, names.visualisation)
    truth = [images.originals(path, settings["images"]) for path in inputs.test]
    files = dict(zip(settings["layers"], inputs.made, strict=True))
    if names.kind == "attribution":
        read, methods = visualisations.Attributions.read, settings["methods"]
        made = {layer: read(path, methods) for layer, path in files.items()}
        figure = visualisations.attribution(*truth, made, title)
    else:
        shown, labels, values = visualisations.read_pictures(files)
        if names.kind == "activation_maximisation":
            figure = visualisations.maximisation(shown, labels, values, title)
        else:
            beside = {"style": np.roll(*truth, -1, 0)} if settings["content"] else {}
            figure = galleries.gallery(*truth, beside | shown, values, title)
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
