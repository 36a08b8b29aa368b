"""Draw the graph of the workflow's rules."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.figures import reconstructions
    from deep_restoration.figures.style import save_figure

    figure = reconstructions.rule_graph([tuple(edge) for edge in snakemake.params.edges])
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
