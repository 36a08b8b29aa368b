"""Covariances, precision, Gram matrices, sparsity and stationarity of the feature maps of one layer."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.files.hdf5 import create_hdf5, open_hdf5
    from deep_restoration.files.tables import write_rows
    from deep_restoration.statistics import stationarity, streaming

    params, output, settings = snakemake.params, snakemake.output, snakemake.params.settings
    names = {key: snakemake.wildcards[key] for key in ("classifier", "layer")}
    if paths := snakemake.input.get("shards"):
        found = streaming.read_all_sums(paths)
    else:
        options = {key: settings[key] for key in ("positions", "radius")}
        with open_hdf5(snakemake.input.features, "features") as source:
            maps = source["features"]
            found = streaming.measure(maps, range(len(maps)), device=devices.device(), **options)
    log.info("distance from stationary against the number of images")
    draws = {key: settings[key] for key in ("replicates", "seed")}
    curve = stationarity.curve(found.spatial_moments(), (0, settings["border"]), **draws)
    with create_hdf5(output.arrays, "statistics", provenance_of(params)) as file:
        streaming.write_statistics(file, found)
    write_rows(output.table, [names | found.summary()])
    columns = (*names, *stationarity.COLUMNS)
    write_rows(output.stationarity, [names | row for row in curve], columns)
