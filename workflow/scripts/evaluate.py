"""Measure the restored images of one layer: against the originals, and against their feature maps."""

from deep_restoration import runtime

with runtime.job(snakemake.log[0], snakemake.threads):
    import numpy as np
    import torch

    from deep_restoration import classifiers, images, metrics, storage

    classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    where = runtime.device()
    network = classifiers.load(snakemake.input.network, [layer]).to(where)
    with storage.open_hdf5(snakemake.input.images, "images") as file:
        names, pixels = storage.read_names(file), file["images"][...]

    def maps_of(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return next(iter(network(batch.to(where)).values())).flatten(1).double()

    truth, rows = pixels.astype(np.float64) / 255, []
    for recipe, path, trace in zip(
        snakemake.params.recipes, snakemake.input.restored, snakemake.input.traces, strict=True
    ):
        with storage.open_hdf5(path, "reconstructions") as file:
            restored = file["images"][...]
        terms = {row["term"]: row["value"] for row in storage.read_rows(trace)}
        seconds = float(terms["seconds per image"])
        error = []
        for start in range(0, len(names), 64):
            part = slice(start, start + 64)
            target = maps_of(images.as_tensor(pixels[part]))
            found = maps_of(torch.from_numpy(restored[part]).permute(0, 3, 1, 2))
            error += ((found - target).square().sum(1) / target.square().sum(1)).tolist()
        columns = zip(
            names,
            metrics.mse(truth, restored).tolist(),
            metrics.psnr(truth, restored).tolist(),
            metrics.ssim(truth, restored).tolist(),
            *metrics.ssim_parts(truth, restored).T.tolist(),
            error,
            strict=True,
        )
        rows += [(classifier, layer, recipe, *values, seconds) for values in columns]
    storage.write_csv(snakemake.output[0], metrics.COLUMNS, rows)
