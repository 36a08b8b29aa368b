"""Put the shards of a layer's tables together."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.jobs import shards

    inputs, output = snakemake.input, snakemake.output
    shards.gather_rows(inputs.image_shards, output.images)
    shards.gather_rows(inputs.map_shards, output.maps)
