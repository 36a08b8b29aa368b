"""Draw the best recipe of each family beside the originals, whole, in detail, and what they get wrong."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from pathlib import Path

    from deep_restoration.data import images
    from deep_restoration.figures import closeups
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import read_images
    from deep_restoration.files.tables import read_rows

    inputs, output, where = snakemake.input, snakemake.output, snakemake.wildcards
    settings, families = snakemake.params.settings, snakemake.params.families
    truth, rows = images.originals(inputs.images, settings["images"]), read_rows(inputs.table)
    recipes = closeups.choose(rows, families, settings["recipes"])
    files = {Path(path).stem: path for path in inputs.reconstructed}
    files = {recipe: files[recipe] for recipe in recipes}
    reconstructed = read_images(files, "reconstructions", len(truth))
    labels, scores = closeups.headings(rows, families, recipes), closeups.scores(rows, recipes)
    what = "details" if settings["recipes"] else "the best of each family, in detail"
    title = f"{where.classifier} {where.layer}: {what}"
    figure = closeups.details(truth, reconstructed, labels, scores, settings["side"], title)
    save_figure(figure, output.png, output.svg)
