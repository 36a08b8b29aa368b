"""Covariances, precision, Gram matrices, sparsity and stationarity of the feature maps of one layer."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import stationarity, statistics, storage

    settings, provenance = snakemake.params.settings, runtime.provenance(snakemake.params)
    names = {key: snakemake.wildcards[key] for key in ("classifier", "layer")}
    options = {key: settings[key] for key in ("positions", "radius")}
    if paths := snakemake.input.get("shards"):
        found = statistics.read_sums(paths[0])
        for path in paths[1:]:
            found.merge(statistics.read_sums(path))
    else:
        with storage.open_hdf5(snakemake.input.features, "features") as source:
            maps = source["features"]
            found = statistics.measure(maps, range(len(maps)), device=runtime.device(), **options)
    moments = found.spatial_moments()
    runtime.log.info("distance from stationary against the number of images")
    curve = stationarity.curve(
        moments,
        (0, settings["border"]),
        replicates=settings["replicates"],
        seed=settings["seed"],
    )
    arrays = {
        "covariance": found.covariance,
        "pseudo_inverse": statistics.pseudo_inverse(found.covariance),
        "precision": moments.sum().precision(),
        "channel_covariance": found.channel_covariance,
        "autocovariance": found.autocovariance,
        "gram": found.gram,
        "gram_centred": found.gram_centred,
        "of_images": found.of_images,
        "of_channels": found.of_channels,
    }
    with storage.create_hdf5(snakemake.output.arrays, "statistics", provenance) as file:
        for key, value in arrays.items():
            storage.write_array(file, key, value)
        statistics.write_sums(file, found)
        file.attrs["grid"] = found.grid.shape
    row = names | found.summary()
    storage.write_csv(snakemake.output.table, row.keys(), [row.values()])
    columns = (*names, *stationarity.COLUMNS)
    storage.write_csv(
        snakemake.output.stationarity,
        columns,
        [[(names | entry)[column] for column in columns] for entry in curve],
    )
