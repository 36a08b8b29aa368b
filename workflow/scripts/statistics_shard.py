"""The sums over a shard of the feature maps of one layer, from which statistics.py goes on."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import shards, statistics, storage

    settings, provenance = snakemake.params.settings, runtime.provenance(snakemake.params)
    options = {key: settings[key] for key in ("positions", "radius")}
    with storage.open_hdf5(snakemake.input.features, "features") as source:
        maps = source["features"]
        mine = shards.part(len(maps), 1, snakemake.wildcards)
        samples = range(len(maps))[mine]
        found = statistics.measure(maps, samples, device=runtime.device(), **options)
    with storage.create_hdf5(snakemake.output[0], "statistics", provenance) as file:
        statistics.write_sums(file, found)
