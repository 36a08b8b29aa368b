"""Draw the best recipe of each side beside the originals, whole, in detail, and what they get wrong."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from pathlib import Path

    import numpy as np

    from deep_restoration.figures import closeups
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import read_rows

    inputs, settings, sides = snakemake.input, snakemake.params.settings, snakemake.params.sides
    with open_hdf5(inputs.images, "images") as file:
        truth = file["images"][: settings["images"]].astype(np.float32) / 255
    rows = read_rows(inputs.table)
    recipes = closeups.choose(rows, sides, settings["recipes"])
    files = {Path(path).stem: path for path in inputs.restored}
    restored, scores = {}, {}
    for recipe in recipes:
        with open_hdf5(files[recipe], "reconstructions") as file:
            restored[recipe] = file["images"][: len(truth)]
        scores[recipe] = [float(row["ssim"]) for row in rows if row["recipe"] == recipe]
    figure = closeups.details(
        truth,
        restored,
        closeups.headings(rows, sides, recipes),
        scores,
        settings["side"],
        f"{snakemake.wildcards.classifier} {snakemake.wildcards.layer}: "
        + ("details" if settings["recipes"] else "the best of each side, in detail"),
    )
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
