"""The sums over a shard of the feature maps of one layer, from which statistics.py goes on."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.files.hdf5 import create_hdf5, open_hdf5
    from deep_restoration.jobs import shards
    from deep_restoration.statistics import streaming

    settings, provenance = snakemake.params.settings, provenance_of(snakemake.params)
    options = {key: settings[key] for key in ("positions", "radius")}
    with open_hdf5(snakemake.input.features, "features") as source:
        maps = source["features"]
        mine = shards.part(len(maps), 1, snakemake.wildcards)
        samples = range(len(maps))[mine]
        found = streaming.measure(maps, samples, device=devices.device(), **options)
    with create_hdf5(snakemake.output[0], "statistics", provenance) as file:
        streaming.write_sums(file, found)
