"""Restore the test images of one layer by every inverse network, and measure them."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from pathlib import Path

    import numpy as np
    import torch

    from deep_restoration import batches, classifiers, images, inverters, metrics, storage

    wildcards, settings = snakemake.wildcards, snakemake.params.settings
    layer, where = wildcards.layer, runtime.device()
    network = classifiers.load(snakemake.input.network, [layer]).to(where)
    with storage.open_hdf5(snakemake.input.images, "images") as file:
        names, pixels = storage.read_names(file), file["images"][...]

    def invert(part: slice) -> tuple[np.ndarray, list[float]]:
        with torch.inference_mode():
            (target,) = network(images.as_tensor(pixels[part]).to(where)).values()
            restored = chain.image(target).clamp(0, 1)
            (again,) = network(restored).values()
        errors = metrics.representation_error(again, target).tolist()
        return restored.permute(0, 2, 3, 1).cpu().numpy(), errors

    truth, rows, shown = pixels.astype(np.float64) / 255, [], {}
    inverted = batches.Batches(64, "inverting test images")
    for path in map(Path, snakemake.input.inverters):
        inverter, replicate = path.parent.name, int(path.stem)
        chain, found, errors = inverters.load(path).to(where), [], []
        for _, (restored, wrong) in inverted(invert, len(names)):
            found.append(restored)
            errors += wrong
        found = np.concatenate(found)
        if replicate == 0:
            shown[inverter] = found[:1]
        measured = (
            metrics.mse(truth, found),
            metrics.psnr(truth, found),
            metrics.ssim(truth, found),
        )
        described = (
            inverter,
            settings["kinds"][inverter],
            settings["regimes"][inverter],
            replicate,
        )
        for name, *values in zip(names, *(m.tolist() for m in measured), errors, strict=True):
            rows.append((wildcards.classifier, layer, *described, name, *values))
    columns = ("classifier", "layer", "inverter", "kind", "regime", "replicate", "image")
    storage.write_csv(snakemake.output.table, (*columns, *metrics.INVERTER_MEASURES), rows)
    provenance = runtime.provenance(snakemake.params)
    with storage.create_hdf5(snakemake.output.images, "inversions", provenance) as file:
        for inverter, restored in shown.items():
            units = "sRGB, 0..1, N x H x W x 3"
            storage.write_array(file, inverter, restored.astype(np.float32), units)
