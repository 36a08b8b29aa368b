"""Draw one test image restored from every layer by every recipe."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from pathlib import Path

    import numpy as np

    from deep_restoration import figures, storage

    with storage.open_hdf5(snakemake.input.images, "images") as file:
        truth = file["images"][0].astype(np.float32) / 255
    restored: dict[str, list] = {}
    layers = []
    for path in map(Path, snakemake.input.restored):
        with storage.open_hdf5(path, "reconstructions") as file:
            restored.setdefault(path.stem, []).append(file["images"][0])
        layers += [path.parent.name] * (path.parent.name not in layers)
    figure = figures.gallery(
        np.stack([truth] * len(layers)),
        restored,
        {},
        f"{snakemake.wildcards.classifier}: one image, restored from every layer",
        layers,
    )
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
