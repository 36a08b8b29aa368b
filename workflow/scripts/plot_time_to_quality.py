"""Draw SSIM against seconds per image for every layer, one line per recipe."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from pathlib import Path

    from deep_restoration.evaluation import time_to_quality
    from deep_restoration.figures import quality
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.tables import read_rows

    layers: dict[str, dict] = {}
    for path in map(Path, snakemake.input):
        curve, _ = time_to_quality.curve(read_rows(path))
        layers.setdefault(path.parent.name, {})[path.name.removesuffix(".trace.csv")] = curve
    figure = quality.quality_against_time(
        layers, snakemake.params.families, f"{snakemake.wildcards.classifier}: quality against time"
    )
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
