"""Describe the filters of a field of experts: Gabor fits, frequency, orientation, colour."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import filters, storage

    arrays = storage.load_arrays(snakemake.input[0], "prior")
    rows = filters.describe(arrays["patterns"], arrays["alphas"])
    storage.write_csv(snakemake.output[0], filters.COLUMNS, rows)
    good = sum(row[6] >= filters.GOOD for row in rows)
    runtime.log.info("%d of %d patterns are Gabor functions", good, len(rows))
