"""Covariances, precision, Gram matrices, sparsity and stationarity of the feature maps of one layer."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, write_array
    from deep_restoration.files.tables import write_csv
    from deep_restoration.statistics import spatial, stationarity, streaming

    settings, provenance = snakemake.params.settings, provenance_of(snakemake.params)
    names = {key: snakemake.wildcards[key] for key in ("classifier", "layer")}
    options = {key: settings[key] for key in ("positions", "radius")}
    if paths := snakemake.input.get("shards"):
        found = streaming.read_sums(paths[0])
        for path in paths[1:]:
            found.merge(streaming.read_sums(path))
    else:
        with open_hdf5(snakemake.input.features, "features") as source:
            maps = source["features"]
            found = streaming.measure(maps, range(len(maps)), device=devices.device(), **options)
    moments = found.spatial_moments()
    log.info("distance from stationary against the number of images")
    curve = stationarity.curve(
        moments,
        (0, settings["border"]),
        replicates=settings["replicates"],
        seed=settings["seed"],
    )
    arrays = {
        "covariance": found.covariance,
        "pseudo_inverse": spatial.pseudo_inverse(found.covariance),
        "precision": moments.sum().precision(),
        "channel_covariance": found.channel_covariance,
        "autocovariance": found.autocovariance,
        "gram": found.gram,
        "gram_centred": found.gram_centred,
        "of_images": found.of_images,
        "of_channels": found.of_channels,
    }
    with create_hdf5(snakemake.output.arrays, "statistics", provenance) as file:
        for key, value in arrays.items():
            write_array(file, key, value)
        streaming.write_sums(file, found)
        file.attrs["grid"] = found.grid.shape
    row = names | found.summary()
    write_csv(snakemake.output.table, row.keys(), [row.values()])
    columns = (*names, *stationarity.COLUMNS)
    write_csv(
        snakemake.output.stationarity,
        columns,
        [[(names | entry)[column] for column in columns] for entry in curve],
    )
