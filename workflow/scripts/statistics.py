"""Covariance and its inverse, Gram matrix and sparsity of the feature maps of one layer."""

from deep_restoration import runtime

with runtime.job(snakemake.log[0], snakemake.threads):
    import numpy as np

    from deep_restoration import statistics, storage

    provenance = runtime.provenance(snakemake.params)
    with storage.open_hdf5(snakemake.input[0], "features") as source:
        maps, batch = source["features"], 16
        channels, height, width = (*maps.shape[1:], 1, 1)[:3]
        found = statistics.FeatureStatistics(
            channels, height, width, snakemake.params.settings["positions"]
        )
        for start in runtime.progress(range(0, len(maps), batch), "measuring feature maps"):
            part = maps[start : start + batch]
            found.add(part.reshape(len(part), channels, height, width))
    covariance = found.covariance
    inverse = statistics.pseudo_inverse(covariance)
    with storage.create_hdf5(snakemake.output.arrays, "statistics", provenance) as file:
        for name, value in {
            "covariance": covariance,
            "inverse_covariance": inverse,
            "gram": found.gram,
            "gini_channels": found.gini_channels,
            "gini_images": np.array(found.gini_images),
        }.items():
            file.create_dataset(name, data=value, track_times=False)
        file.attrs["window"] = found.shape
    row = {
        "classifier": snakemake.wildcards.classifier,
        "layer": snakemake.wildcards.layer,
        "images": found.count,
        "channels": channels,
        "height": height,
        "width": width,
        "window_height": found.shape[0],
        "window_width": found.shape[1],
        "effective_rank": statistics.effective_rank(covariance),
        "gini_image": float(np.mean(found.gini_images)),
        "gini_channel": float(found.gini_channels.mean()),
        "zeros": found.zeros,
    }
    storage.write_csv(snakemake.output.table, row.keys(), [row.values()])
