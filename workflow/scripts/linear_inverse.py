"""Invert the first convolution of a classifier linearly, and measure how far that is from a convolution."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime import devices, seeds

with job(snakemake):
    import torch

    from deep_restoration.data import images, splits
    from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, write_array
    from deep_restoration.files.tables import write_csv
    from deep_restoration.linear import study
    from deep_restoration.linear.optimum import StationaryPrior
    from deep_restoration.networks import first_layer, saved

    settings, where = snakemake.params.settings, devices.device()
    name = snakemake.wildcards.classifier
    layer = first_layer.first_convolution(snakemake.input.network)
    network = saved.load(snakemake.input.network, [layer])
    convolution = study.of_network(network).to(where)

    def load(path: str, count: int) -> torch.Tensor:
        with open_hdf5(path, "images") as file:
            chosen = splits.evenly_spaced(list(range(len(file["images"]))), count)
            return images.as_tensor(file["images"][chosen]).double().to(where)

    train = load(snakemake.input.train, settings["prior_images"])
    window = min(settings["window"], train.shape[2])
    prior = StationaryPrior.fit(train.split(16), window)
    truth = load(snakemake.input.test, settings["images"])
    centred = truth - prior.mean.view(-1, 1, 1)
    errors, shapes, shown = [], [], {}
    border = convolution.span[0] + max(settings["sizes"]) // 2
    for share in settings["noise"]:
        generator = seeds.generator(settings["seed"], "linear inverse", share)
        found = study.restorations(convolution, prior, centred, share, settings["sizes"], generator)
        errors += study.errors(centred, found, share, border)
        if not shown:
            shapes = study.shapes(convolution, prior, share)
            shown = study.kernels(convolution, prior, share)
            first = [entry.images[0] + prior.mean.view(-1, 1, 1) for entry in found]
            labels = [f"{e.method}{f' {e.size}' if e.size else ''}" for e in found]
        log.info("noise %g done", share)
    for path, columns, rows in (
        (snakemake.output.errors, study.COLUMNS, errors),
        (snakemake.output.shapes, study.SHAPE_COLUMNS, shapes),
    ):
        lines = [[name, *(row[column] for column in columns)] for row in rows]
        write_csv(path, ["classifier", *columns], lines)
    shown |= {"original": truth[0], "restored": torch.stack(first)}
    provenance = provenance_of(snakemake.params)
    with create_hdf5(snakemake.output.arrays, "linear_inverse", provenance) as file:
        for key, value in shown.items():
            write_array(file, key, value.cpu().numpy())
        file.attrs["labels"] = labels
        file.attrs["stride"] = convolution.stride[0]
