"""Measure the restored images of one layer as the papers did, for comparison with their figures."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np
    import torch

    from deep_restoration import baselines, classifiers, images, paper_measures, storage

    classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    where, output = runtime.device(), snakemake.params.settings["output"]
    wanted = dict.fromkeys([layer, output] if output else [layer])
    network = classifiers.load(snakemake.input.network, list(wanted)).to(where)
    with storage.open_hdf5(snakemake.input.images, "images") as file:
        names, pixels = storage.read_names(file), file["images"][...]
    with storage.open_hdf5(snakemake.input.train, "images") as file:
        mean = file["mean"][...]
    count = len(names)

    def seen(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        with torch.inference_mode():
            found = network(batch.to(where))
        return found[layer], found[output].flatten(1).argmax(1) if output else None

    def codes(start: int, stop: int) -> torch.Tensor:
        return seen(images.as_tensor(pixels[start:stop]))[0]

    def truth(start: int, stop: int) -> np.ndarray:
        return pixels[start:stop].astype(np.float64) / 255

    apart = paper_measures.mean_distances(codes, count)
    pictures = paper_measures.mean_distances(lambda a, b: torch.from_numpy(truth(a, b)), count)
    rows = []

    def measure(name: str, found) -> None:
        """Append the rows of `found`, N x H x W x 3."""
        values: dict[str, list] = {measure: [] for measure in paper_measures.MEASURES}
        for start in range(0, count, 64):
            stop = min(start + 64, count)
            restored = np.ascontiguousarray(found[start:stop])
            target, label = seen(images.as_tensor(pixels[start:stop]))
            maps, again = seen(torch.from_numpy(restored).permute(0, 3, 1, 2))
            errors = paper_measures.feature_measures(maps, target, apart)
            errors |= paper_measures.image_measures(truth(start, stop), restored, pictures.mean)
            for key, part in errors.items():
                values[key] += part.tolist()
            same = (label == again).int().tolist() if output else [""] * len(maps)
            values["same_label"] += same
        rows.extend(
            (classifier, layer, name, *line) for line in zip(names, *values.values(), strict=True)
        )

    for name, guess in baselines.pictures(mean).items():
        measure(name, np.broadcast_to(guess, pixels.shape))
    for recipe, path in zip(
        snakemake.params.settings["recipes"], snakemake.input.restored, strict=True
    ):
        with storage.open_hdf5(path, "reconstructions") as file:
            measure(recipe, file["images"])
    storage.write_csv(snakemake.output[0], paper_measures.COLUMNS, rows)
