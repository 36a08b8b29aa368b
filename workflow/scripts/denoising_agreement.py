"""Measure whether denoisers of halves of the training photographs agree, at each noise level."""

from deep_restoration.jobs.job import job
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.files.tables import write_csv
    from deep_restoration.priors import levels
    from deep_restoration.priors.registry import load

    inputs, settings = snakemake.input, snakemake.params.settings
    table, files = [], dict(zip(settings["priors"], inputs.priors, strict=True))
    for pair in settings["pairs"]:
        priors = [load(files[name]).to(devices.device()) for name in pair["priors"]]
        held, _ = levels.crops(inputs.train, pair["of"], settings["held_out"])
        rows = levels.agreement(*priors, held, settings["seed"])
        table += [(*pair["priors"], *row) for row in rows]
    write_csv(snakemake.output[0], levels.AGREEMENT, table)
