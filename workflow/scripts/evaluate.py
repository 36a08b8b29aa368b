"""Measure the images of one layer that recipes restored: against the originals and their feature maps."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np
    import torch

    from deep_restoration import batches, classifiers, images, metrics, statistics, storage

    classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    where = runtime.device()
    network = classifiers.load(snakemake.input.network, [layer]).to(where)
    with storage.open_hdf5(snakemake.input.images, "images") as file:
        names, pixels = storage.read_names(file), file["images"][...]

    def maps_of(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            (maps,) = network(batch.to(where)).values()
        return maps.reshape(*maps.shape, *(1, 1)[: 4 - maps.ndim])

    def measuring(maps: torch.Tensor) -> statistics.FeatureStatistics:
        options = snakemake.params.statistics
        return statistics.FeatureStatistics(*maps.shape[1:], device=where, **options)

    def both(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        restored = torch.from_numpy(file["images"][part]).permute(0, 3, 1, 2)
        return maps_of(images.as_tensor(pixels[part])), maps_of(restored)

    rows, distances, natural = [], [], None
    measured = batches.Batches(32, "measuring restored images")
    for recipe, path, trace in zip(
        snakemake.params.recipes, snakemake.input.restored, snakemake.input.traces, strict=True
    ):
        terms = {row["term"]: row["value"] for row in storage.read_rows(trace)}
        seconds, first = float(terms["seconds per image"]), natural is None
        with storage.open_hdf5(path, "reconstructions") as file:
            for part, (target, maps) in measured(both, len(names)):
                if part.start == 0:
                    found, natural = measuring(maps), natural or measuring(maps)
                found.add(maps, part.start)
                if first:
                    natural.add(target, part.start)
                truth, restored = pixels[part].astype(np.float64) / 255, file["images"][part]
                columns = zip(
                    names[part],
                    metrics.mse(truth, restored).tolist(),
                    metrics.psnr(truth, restored).tolist(),
                    metrics.ssim(truth, restored).tolist(),
                    *metrics.ssim_parts(truth, restored).T.tolist(),
                    metrics.representation_error(maps, target).tolist(),
                    strict=True,
                )
                rows += [(classifier, layer, recipe, *values, seconds) for values in columns]
        for row in statistics.compare(natural, found):
            distances.append((classifier, layer, recipe, len(names), *row.values()))
    storage.write_csv(snakemake.output.images, metrics.COLUMNS, rows)
    keys = ("classifier", "layer", "recipe", "images", *statistics.COMPARISON)
    storage.write_csv(snakemake.output.maps, keys, distances)
