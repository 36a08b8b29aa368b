"""When each recipe reaches each SSIM, from the traces of all layers."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from pathlib import Path

    from deep_restoration.evaluation import time_to_quality
    from deep_restoration.files.tables import read_rows, write_csv

    families, curves = snakemake.params.families, {}
    for path in map(Path, snakemake.input):
        recipe, layer, classifier = (
            path.name.removesuffix(".trace.csv"),
            path.parent.name,
            path.parent.parent.name,
        )
        curves.setdefault((classifier, layer), {})[recipe] = time_to_quality.curve(read_rows(path))
    rows = [
        row
        for (classifier, layer), found in curves.items()
        for row in time_to_quality.table(classifier, layer, found, families)
    ]
    write_csv(snakemake.output[0], time_to_quality.COLUMNS, rows)
