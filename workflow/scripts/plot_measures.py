"""Draw every measure against layer, a line a recipe."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import pandas as pd

    from deep_restoration import figures, storage

    table = pd.read_csv(snakemake.input[0], dtype={"layer": str, "recipe": str})
    name = snakemake.wildcards.classifier
    table = table[table["classifier"] == name]
    sides, title = snakemake.params.sides, f"{name}: quality by layer"
    layers = list(table["layer"].unique())
    recipes = [recipe for recipe in table["recipe"].unique() if recipe in sides]
    figure = figures.measures_by_layer(table, layers, recipes, sides, title)
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
