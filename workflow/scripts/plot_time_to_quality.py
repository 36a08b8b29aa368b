"""Draw SSIM against seconds an image for every layer, a line a recipe."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from pathlib import Path

    from deep_restoration import quality_figures, storage, time_to_quality

    layers: dict[str, dict] = {}
    for path in map(Path, snakemake.input):
        curve, _ = time_to_quality.curve(storage.read_rows(path))
        layers.setdefault(path.parent.name, {})[path.name.removesuffix(".trace.csv")] = curve
    figure = quality_figures.quality_against_time(
        layers, snakemake.params.sides, f"{snakemake.wildcards.classifier}: quality against time"
    )
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
