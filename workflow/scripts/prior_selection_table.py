"""Gather what priors of feature maps add, of all layers."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.files.tables import read_rows, write_csv
    from deep_restoration.inversion import prior_selection

    rows = [row for path in snakemake.input for row in read_rows(path)]
    write_csv(
        snakemake.output[0],
        prior_selection.COLUMNS,
        [[row[c] for c in prior_selection.COLUMNS] for row in rows],
    )
