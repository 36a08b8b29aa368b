"""Draw the graph of the workflow's rules."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import figures, storage

    figure = figures.rule_graph([tuple(edge) for edge in snakemake.params.edges])
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
