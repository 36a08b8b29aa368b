"""Invert the first convolution of a classifier linearly, and measure how far that is from a convolution."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import torch

    from deep_restoration import classifiers, images, inventory, linear_study, storage
    from deep_restoration.linear_inverse import StationaryPrior

    settings, where = snakemake.params.settings, runtime.device()
    name = snakemake.wildcards.classifier
    layer = classifiers.first_convolution(snakemake.input.network)
    network = classifiers.load(snakemake.input.network, [layer])
    convolution = linear_study.of_network(network).to(where)

    def load(path: str, count: int) -> torch.Tensor:
        with storage.open_hdf5(path, "images") as file:
            chosen = inventory.spread(list(range(len(file["images"]))), count)
            return images.as_tensor(file["images"][chosen]).double().to(where)

    train = load(snakemake.input.train, settings["prior_images"])
    window = min(settings["window"], train.shape[2])
    prior = StationaryPrior.fit(train.split(16), window)
    truth = load(snakemake.input.test, settings["images"])
    centred = truth - prior.mean.view(-1, 1, 1)
    errors, shapes, shown = [], [], {}
    border = convolution.span[0] + max(settings["sizes"]) // 2
    for share in settings["noise"]:
        generator = runtime.generator(settings["seed"], "linear inverse", share)
        found = linear_study.restorations(
            convolution, prior, centred, share, settings["sizes"], generator
        )
        errors += linear_study.errors(centred, found, share, border)
        if not shown:
            shapes = linear_study.shapes(convolution, prior, share)
            shown = linear_study.kernels(convolution, prior, share)
            first = [entry.images[0] + prior.mean.view(-1, 1, 1) for entry in found]
            labels = [f"{e.method}{f' {e.size}' if e.size else ''}" for e in found]
        runtime.log.info("noise %g done", share)
    for path, columns, rows in (
        (snakemake.output.errors, linear_study.COLUMNS, errors),
        (snakemake.output.shapes, linear_study.SHAPE_COLUMNS, shapes),
    ):
        lines = [[name, *(row[column] for column in columns)] for row in rows]
        storage.write_csv(path, ["classifier", *columns], lines)
    shown |= {"original": truth[0], "restored": torch.stack(first)}
    provenance = runtime.provenance(snakemake.params)
    with storage.create_hdf5(snakemake.output.arrays, "linear_inverse", provenance) as file:
        for key, value in shown.items():
            storage.write_array(file, key, value.cpu().numpy())
        file.attrs["labels"] = labels
        file.attrs["stride"] = convolution.stride[0]
