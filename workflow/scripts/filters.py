"""Describe the filters of a field of experts: Gabor fits, frequency, orientation, colour."""

from deep_restoration.jobs.job import job, log

with job(snakemake):
    from deep_restoration.files.tables import write_csv
    from deep_restoration.files.tensors import load_arrays
    from deep_restoration.priors import filters

    arrays = load_arrays(snakemake.input[0], "prior")
    rows = filters.describe(arrays["patterns"], arrays["alphas"])
    write_csv(snakemake.output[0], filters.COLUMNS, rows)
    good = sum(row[6] >= filters.GOOD for row in rows)
    log.info("%d of %d patterns are Gabor functions", good, len(rows))
