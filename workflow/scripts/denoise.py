"""Denoise images under one prior, its weight tuned on held-out training images."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import time
    from functools import partial
    from pathlib import Path

    import numpy as np

    from deep_restoration import denoising, images, inventory, metrics, storage
    from deep_restoration.priors import load, training

    settings, where = snakemake.params.settings, runtime.device()
    name, estimator = snakemake.wildcards.prior, snakemake.wildcards.estimator
    sigma, seed, of = settings["sigma"] / 255, settings["seed"], settings["of"]
    if name == "tv":
        restore, start = denoising.total_variation, 0.1
    else:
        prior = load(snakemake.input.prior[0]).to(where)
        limits = {"iterations": settings["iterations"], "tolerance": settings["tolerance"] / 255}
        restore, start = partial(denoising.ESTIMATORS[estimator], prior, sigma, **limits), 0.1

    _, held = training.load_maps(snakemake.input.train, of, settings["held_out"])
    held = held[inventory.spread(list(range(len(held))), settings["tuning"])]
    side = min(160, *held.shape[2:])  # the middle: tuning costs as much as many images
    top, left = ((length - side) // 2 for length in held.shape[2:])
    clean = next(training.batches(held[:, :, top : top + side, left : left + side], len(held)))
    noisy = denoising.add_noise(clean, [f"tuning {i}" for i in range(len(clean))], sigma, seed)

    def score(weight: float) -> float:
        return float(denoising.psnr(clean, restore(noisy, weight).images).mean())

    weight = denoising.tune(score, start)

    if snakemake.input.get("test"):
        with storage.open_hdf5(snakemake.input.test[0], "images") as file:
            names, pixels = storage.read_names(file), list(file["images"][...])
    else:
        names = list(snakemake.params.files)
        pixels = (images.read(f"{snakemake.params.folder}/{name}") for name in names)
    rows, shown = [], {}
    for image, photograph in zip(names, pixels, strict=True):
        planes = images.grey(photograph)[None] if of == "grey" else photograph.transpose(2, 0, 1)
        truth = next(training.batches(planes[None]))
        given = denoising.add_noise(truth, [image], sigma, seed)
        began = time.monotonic()
        found = restore(given, weight)
        seconds = time.monotonic() - began
        before, after = (float(denoising.psnr(truth, x)) for x in (given, found.images))
        flat = [x.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy() for x in (truth, found.images)]
        ssim = float(metrics.ssim(*flat)[0])
        called = (name, denoising.NAMES[estimator], of, image)
        row = (*called, settings["sigma"], weight, before, after, ssim)
        rows.append((*row, found.iterations, 255 * found.residual, seconds))
        if len(shown) < settings["shown"]:
            shown[image] = [x[0].clamp(0, 1).cpu().numpy() for x in (truth, given, found.images)]
    if snakemake.params.files:
        content, hashes = inventory.digest(snakemake.params.files), Path(snakemake.params.hashes)
        inventory.require(content, snakemake.params.folder, names, hashes)
    storage.write_csv(snakemake.output.table, denoising.COLUMNS, rows)
    with storage.create_hdf5(
        snakemake.output.images, "denoised", runtime.provenance(snakemake.params)
    ) as file:
        for index, (image, planes) in enumerate(shown.items()):
            group = file.create_group(f"{index:03}")
            group.attrs["name"] = image.encode("utf-8", "surrogateescape")
            for key, plane in zip(("clean", "noisy", "restored"), planes, strict=True):
                data = np.rint(255 * plane.transpose(1, 2, 0)).astype(np.uint8)
                storage.write_array(group, key, data)
    psnr = denoising.COLUMNS.index("psnr")
    runtime.log.info("weight %.4g: %.2f dB", weight, np.mean([row[psnr] for row in rows]))
