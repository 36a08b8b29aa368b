"""Draw what priors of feature maps add: error against their number, and one image without and with all."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.evaluation import baselines
    from deep_restoration.figures import study
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import read_rows

    inputs, output, name = snakemake.input, snakemake.output, snakemake.wildcards.classifier
    layers = snakemake.params.layers
    rows = [row for row in read_rows(inputs.table) if row["classifier"] == name]
    rows = baselines.of_recipes(rows, "order")
    figure = study.prior_selection(rows, layers, f"{name}: what priors of feature maps add")
    save_figure(figure, output.lines, output.lines_svg)

    pictures = {}
    for layer, path in zip(layers, inputs.images, strict=True):
        with open_hdf5(path, "prior_selection") as file:
            reconstructed = dict(zip(file.attrs["sets"], file["reconstructed"][...], strict=True))
            truth = file["original"][0].astype("float32") / 255
        last = {row["order"]: row["set"] for row in rows if row["layer"] == layer}
        pictures[layer] = {"none": reconstructed["none"]}
        pictures[layer] |= {order: reconstructed[name] for order, name in last.items()}
    title = f"{name}: one image without and with all priors of feature maps"
    figure = study.prior_selection_images(truth, pictures, title)
    save_figure(figure, output.images, output.images_svg)
