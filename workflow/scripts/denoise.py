"""Denoise images under one prior, its weight tuned on held-out training images."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.files import hashing
    from deep_restoration.files.hdf5 import create_hdf5
    from deep_restoration.files.tables import write_csv
    from deep_restoration.priors import denoising
    from deep_restoration.priors.registry import load

    inputs, output, params = snakemake.input, snakemake.output, snakemake.params
    settings, wildcards = params.settings, snakemake.wildcards
    files, folder = list(params.files), params.folder
    of, level, seed, most = (settings[key] for key in ("of", "sigma", "seed", "shown"))
    prior = load(inputs.prior[0]).to(devices.device()) if inputs.get("prior") else None
    limits = {"iterations": settings["iterations"], "tolerance": settings["tolerance"] / 255}
    denoise = denoising.denoising_by(prior, wildcards.estimator, level / 255, **limits)
    tuning = denoising.tuning_images(inputs.train, of, settings["held_out"], settings["tuning"])
    weight = denoising.tuned(denoise, tuning, level / 255, seed)
    images = denoising.read_photographs(inputs.get("test", []), folder, files)
    rows, shown = denoising.measure_all(denoise, weight, images, of, level / 255, seed, most)
    if files:
        hashing.require(hashing.digest(params.files), folder, files, params.hashes)
    facts = (wildcards.prior, denoising.NAMES[wildcards.estimator], of)
    table = [(*facts, image, level, weight, *values) for image, *values in rows]
    write_csv(output.table, denoising.COLUMNS, table)
    with create_hdf5(output.images, "denoised", provenance_of(params)) as file:
        denoising.write_pictures(file, shown)
