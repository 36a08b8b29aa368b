"""Measure the images of one layer that recipes restored: against the originals and their feature maps."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np
    import torch

    from deep_restoration import (
        baselines,
        batches,
        classifiers,
        images,
        metrics,
        statistics,
        storage,
    )

    classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    where = runtime.device()
    network = classifiers.load(snakemake.input.network, [layer]).to(where)
    with storage.open_hdf5(snakemake.input.images, "images") as file:
        names, pixels = storage.read_names(file), file["images"][...]
    with storage.open_hdf5(snakemake.input.train, "images") as file:
        mean = file["mean"][...]

    def maps_of(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            (maps,) = network(batch.to(where)).values()
        return maps.reshape(*maps.shape, *(1, 1)[: 4 - maps.ndim])

    def measuring(maps: torch.Tensor) -> statistics.FeatureStatistics:
        options = snakemake.params.statistics
        return statistics.FeatureStatistics(*maps.shape[1:], device=where, **options)

    measured, rows = batches.Batches(32, "measuring restored images"), []

    def measure(name: str, found, seconds: float):
        """Append the rows of `found`, N x H x W x 3, and yield the maps of every part."""

        def both(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
            restored = torch.from_numpy(np.ascontiguousarray(found[part])).permute(0, 3, 1, 2)
            return maps_of(images.as_tensor(pixels[part])), maps_of(restored)

        for part, (target, maps) in measured(both, len(names)):
            yield part.start, target, maps
            truth, restored = pixels[part].astype(np.float64) / 255, found[part]
            columns = zip(
                names[part],
                metrics.mse(truth, restored).tolist(),
                metrics.psnr(truth, restored).tolist(),
                metrics.ssim(truth, restored).tolist(),
                *metrics.ssim_parts(truth, restored).T.tolist(),
                metrics.representation_error(maps, target).tolist(),
                strict=True,
            )
            rows.extend((classifier, layer, name, *values, seconds) for values in columns)

    for name, guess in baselines.pictures(mean).items() if snakemake.params.baselines else ():
        for _ in measure(name, np.broadcast_to(guess, pixels.shape), 0.0):
            pass  # the maps of equal images have no statistics
    distances, natural = [], None
    for recipe, path, trace in zip(
        snakemake.params.recipes, snakemake.input.restored, snakemake.input.traces, strict=True
    ):
        terms = {row["term"]: row["value"] for row in storage.read_rows(trace)}
        seconds, first = float(terms["seconds per image"]), natural is None
        with storage.open_hdf5(path, "reconstructions") as file:
            for start, target, maps in measure(recipe, file["images"], seconds):
                if start == 0:
                    found, natural = measuring(maps), natural or measuring(maps)
                found.add(maps, start)
                if first:
                    natural.add(target, start)
        for row in statistics.compare(natural, found):
            distances.append((classifier, layer, recipe, len(names), *row.values()))
    storage.write_csv(snakemake.output.images, metrics.COLUMNS, rows)
    keys = ("classifier", "layer", "recipe", "images", *statistics.COMPARISON)
    storage.write_csv(snakemake.output.maps, keys, distances)
