"""Draw every measure against layer, one line per recipe."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.figures import reconstructions
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.tables import read_rows

    name, families = snakemake.wildcards.classifier, snakemake.params.families
    rows = [row for row in read_rows(snakemake.input[0]) if row["classifier"] == name]
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    recipes = [r for r in dict.fromkeys(row["recipe"] for row in rows) if r in families]
    figure = reconstructions.measures_by_layer(
        rows, layers, recipes, families, f"{name}: quality by layer"
    )
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
