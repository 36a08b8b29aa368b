"""Put the shards of reconstructed images together: what one job would have written."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from pathlib import Path

    from deep_restoration.jobs import shards

    inputs, output = snakemake.input, snakemake.output
    stage = Path(output[0]).parts[1]  # results/<stage>/
    images = shards.gather_arrays(inputs.shards, output[0], stage)
    if traces := inputs.get("traces"):
        shards.gather_traces(traces, output.trace, images)
