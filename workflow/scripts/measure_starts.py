"""Measure how far the images restored from several starts lie apart, and what their mean is worth."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import numpy as np
    import torch

    from deep_restoration import classifiers, metrics, starts, storage

    classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    where, rows = runtime.device(), []
    network = classifiers.load(snakemake.input.network, [layer]).to(where)

    def maps_of(images: np.ndarray) -> torch.Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(images, np.float32)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            return network(batch.to(where))[layer]

    for recipe, path in zip(snakemake.params.recipes, snakemake.input.starts, strict=True):
        with storage.open_hdf5(path, "starts") as file:
            names, truth = storage.read_names(file), file["originals"][...] / 255
            images = file["images"][...]
        for first in range(0, len(names), 64):
            part = slice(first, first + 64)
            target, some = maps_of(truth[part]), images[:, part]
            errors = [
                metrics.representation_error(maps_of(one), target).cpu().numpy()
                for one in (*some, some.mean(axis=0))
            ]
            found = starts.measure(truth[part], some, np.stack(errors[:-1]), errors[-1])
            columns = [found[name].tolist() for name in starts.MEASURES]
            rows += [
                (classifier, layer, recipe, name, len(images), *values)
                for name, *values in zip(names[part], *columns, strict=True)
            ]
    storage.write_csv(snakemake.output[0], starts.COLUMNS, rows)
