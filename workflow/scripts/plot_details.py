"""Draw the best recipe of each side beside the originals, whole, in detail, and what they get wrong."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from pathlib import Path

    import numpy as np

    from deep_restoration import detail_figures, storage

    inputs, settings, sides = snakemake.input, snakemake.params.settings, snakemake.params.sides
    with storage.open_hdf5(inputs.images, "images") as file:
        truth = file["images"][: settings["images"]].astype(np.float32) / 255
    rows = storage.read_rows(inputs.table)
    recipes = detail_figures.choose(rows, sides, settings["recipes"])
    files = {Path(path).stem: path for path in inputs.restored}
    restored, scores = {}, {}
    for recipe in recipes:
        with storage.open_hdf5(files[recipe], "reconstructions") as file:
            restored[recipe] = file["images"][: len(truth)]
        scores[recipe] = [float(row["ssim"]) for row in rows if row["recipe"] == recipe]
    figure = detail_figures.details(
        truth,
        restored,
        detail_figures.headings(rows, sides, recipes),
        scores,
        settings["side"],
        f"{snakemake.wildcards.classifier} {snakemake.wildcards.layer}: "
        + ("details" if settings["recipes"] else "the best of each side, in detail"),
    )
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
