"""Restore the test images of one layer by every inverse network, and measure them."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from pathlib import Path

    import numpy as np
    import torch

    from deep_restoration import (
        baselines,
        batches,
        classifiers,
        images,
        inverters,
        metrics,
        storage,
    )

    wildcards, settings = snakemake.wildcards, snakemake.params.settings
    layer, where = wildcards.layer, runtime.device()
    network = classifiers.load(snakemake.input.network, [layer]).to(where)
    with storage.open_hdf5(snakemake.input.images, "images") as file:
        names, pixels = storage.read_names(file), file["images"][...]
    with storage.open_hdf5(snakemake.input.train, "images") as file:
        mean = file["mean"][...]
    truth, rows, shown = pixels.astype(np.float64) / 255, [], {}
    inverted = batches.Batches(64, "inverting test images")

    def measure(described: tuple, image_of) -> np.ndarray:
        """Append the rows of what `image_of` makes of the target maps; the first such image."""

        def invert(part: slice) -> tuple[np.ndarray, list[float]]:
            with torch.inference_mode():
                (target,) = network(images.as_tensor(pixels[part]).to(where)).values()
                restored = image_of(target).clamp(0, 1)
                (again,) = network(restored).values()
            errors = metrics.representation_error(again, target).tolist()
            return restored.permute(0, 2, 3, 1).cpu().numpy(), errors

        found, errors = [], []
        for _, (restored, wrong) in inverted(invert, len(names)):
            found.append(restored)
            errors += wrong
        found = np.concatenate(found)
        values = (compare(truth, found) for compare in (metrics.mse, metrics.psnr, metrics.ssim))
        for name, *line in zip(names, *(v.tolist() for v in values), errors, strict=True):
            rows.append((wildcards.classifier, layer, *described, name, *line))
        return found[:1]

    def always(guess: np.ndarray):
        picture = torch.from_numpy(guess).permute(2, 0, 1).contiguous().to(where)
        return lambda target: picture.repeat(len(target), 1, 1, 1)

    for name, guess in baselines.pictures(mean).items():
        measure((name, "", "", 0), always(guess))
    for path in map(Path, snakemake.input.inverters):
        inverter, replicate = path.parent.name, int(path.stem)
        described = inverter, settings["kinds"][inverter], settings["regimes"][inverter], replicate
        restored = measure(described, inverters.load(path).to(where).image)
        if replicate == 0:
            shown[inverter] = restored
    columns = ("classifier", "layer", "inverter", "kind", "regime", "replicate", "image")
    storage.write_csv(snakemake.output.table, (*columns, *metrics.INVERTER_MEASURES), rows)
    provenance = runtime.provenance(snakemake.params)
    with storage.create_hdf5(snakemake.output.images, "inversions", provenance) as file:
        for inverter, restored in shown.items():
            units = "sRGB, 0..1, N x H x W x 3"
            storage.write_array(file, inverter, restored.astype(np.float32), units)
