"""Measure how well a denoiser denoises at each noise level."""

from deep_restoration.jobs.job import job
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.files.tables import write_csv
    from deep_restoration.priors import levels
    from deep_restoration.priors.registry import load

    inputs, settings = snakemake.input, snakemake.params.settings
    prior = load(inputs.prior).to(devices.device())
    of = settings["of"], settings["held_out"], settings["part"]
    held, learned = levels.crops(inputs.train, *of)
    rows = levels.measured(prior, held, learned, settings["seed"])
    table = [(snakemake.wildcards.prior, *row) for row in rows]
    write_csv(snakemake.output[0], ("prior", *levels.COLUMNS), table)
