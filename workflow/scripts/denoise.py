"""Denoise images under one prior, its weight tuned on held-out training images."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime import devices

with job(snakemake):
    from pathlib import Path

    import numpy as np

    from deep_restoration.data import images, splits
    from deep_restoration.files import hashing
    from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, read_names, write_array
    from deep_restoration.files.tables import write_csv
    from deep_restoration.priors import denoising, training
    from deep_restoration.priors.registry import load

    settings, inputs = snakemake.params.settings, snakemake.input
    name, estimator = snakemake.wildcards.prior, snakemake.wildcards.estimator
    sigma, seed, of = settings["sigma"] / 255, settings["seed"], settings["of"]
    prior = load(inputs.prior[0]).to(devices.device()) if inputs.get("prior") else None
    limits = {"iterations": settings["iterations"], "tolerance": settings["tolerance"] / 255}
    restore = denoising.restoring(prior, estimator, sigma, **limits)
    _, held = training.load_maps(inputs.train, of, settings["held_out"])
    held = held[splits.evenly_spaced(list(range(len(held))), settings["tuning"])]
    weight = denoising.tuned(restore, denoising.middles(held), sigma, seed)

    if inputs.get("test"):
        with open_hdf5(inputs.test[0], "images") as file:
            names, pixels = read_names(file), list(file["images"][...])
    else:
        names = list(snakemake.params.files)
        pixels = (images.read(f"{snakemake.params.folder}/{name}") for name in names)
    rows, shown = [], {}
    facts = settings["sigma"], weight
    for image, photograph in zip(names, pixels, strict=True):
        planes = images.grey(photograph)[None] if of == "grey" else photograph.transpose(2, 0, 1)
        found, pictures = denoising.measure(restore, weight, planes, image, sigma, seed)
        rows.append((name, denoising.NAMES[estimator], of, image, *facts, *found.values()))
        if len(shown) < settings["shown"]:
            shown[image] = pictures
    if snakemake.params.files:
        content, hashes = hashing.digest(snakemake.params.files), Path(snakemake.params.hashes)
        hashing.require(content, snakemake.params.folder, names, hashes)
    write_csv(snakemake.output.table, denoising.COLUMNS, rows)
    with create_hdf5(snakemake.output.images, "denoised", provenance_of(snakemake.params)) as file:
        for index, (image, pictures) in enumerate(shown.items()):
            group = file.create_group(f"{index:03}")
            group.attrs["name"] = image.encode("utf-8", "surrogateescape")
            for key, data in pictures.items():
                write_array(group, key, data)
    psnr = denoising.COLUMNS.index("psnr")
    log.info("weight %.4g: %.2f dB", weight, np.mean([row[psnr] for row in rows]))
