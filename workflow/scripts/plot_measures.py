"""Draw every measure against layer, a line a recipe."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import figures, storage

    name, sides = snakemake.wildcards.classifier, snakemake.params.sides
    rows = [row for row in storage.read_rows(snakemake.input[0]) if row["classifier"] == name]
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    recipes = [r for r in dict.fromkeys(row["recipe"] for row in rows) if r in sides]
    figure = figures.measures_by_layer(rows, layers, recipes, sides, f"{name}: quality by layer")
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
