"""Draw one test image reconstructed from every layer by every recipe."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from pathlib import Path

    import numpy as np

    from deep_restoration.data import images
    from deep_restoration.figures import galleries
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5

    (truth,) = images.originals(snakemake.input.images, 1)
    reconstructed: dict[str, list] = {}
    layers = []
    for path in map(Path, snakemake.input.reconstructed):
        with open_hdf5(path, "reconstructions") as file:
            reconstructed.setdefault(path.stem, []).append(file["images"][0])
        layers += [path.parent.name] * (path.parent.name not in layers)
    figure = galleries.gallery(
        np.stack([truth] * len(layers)),
        reconstructed,
        {},
        f"{snakemake.wildcards.classifier}: one image, reconstructed from every layer",
        layers,
    )
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
