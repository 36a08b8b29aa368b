"""Sample patches of images or of feature maps uniformly, store them, and their mean and covariance."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime.progress import progress

with job(snakemake):
    import numpy as np

    from deep_restoration.data import images, patches, splits
    from deep_restoration.files.hdf5 import create_dataset, create_hdf5, open_hdf5, write_array
    from deep_restoration.priors import whitening
    from deep_restoration.statistics.moments import Moments

    settings = snakemake.params.settings
    of, dc, contrast = settings["of"], settings["dc"], settings["contrast"]
    stage = "features" if of == "features" else "images"
    rng = np.random.default_rng(settings["seed"])
    provenance = provenance_of(snakemake.params)
    with (
        open_hdf5(snakemake.input[0], stage) as source,
        create_hdf5(snakemake.output[0], "patches", provenance) as file,
    ):
        maps, size = source[stage], settings["size"]
        if stage == "features":
            channels, height, width = (*maps.shape[1:], 1, 1)[:3]
        else:
            channels, height, width = (1 if of == "grey" else 3, *maps.shape[1:3])
        if size > min(height, width):
            raise ValueError(
                f"patches of {size} x {size} do not fit into maps of {height} x {width}"
            )
        scale, dtype = (1, np.float32) if stage == "features" else (255, np.uint8)
        positions = (height - size + 1) * (width - size + 1)
        kept = splits.held_out(len(maps), settings["held_out"])
        moments = Moments(channels * size * size)
        counts = {"patches": settings["count"], "held_out": max(100, settings["count"] // 20)}
        for name, chosen in (("patches", ~kept), ("held_out", kept)):
            rows, shape = np.flatnonzero(chosen), (counts[name], channels, size, size)
            units = "activation" if stage == "features" else "0..255"
            data = create_dataset(file, name, shape, dtype, f"{units}, n x C x k x k")
            shares = patches.plan(counts[name], len(rows), positions, rng)
            waiting, start = [], 0
            for index in progress(range(len(rows)), "sampling patches"):
                image = maps[rows[index]]
                if of == "images":
                    image = image.transpose(2, 0, 1)
                elif of == "grey":
                    image = images.grey(image)[None]
                image = image.reshape(channels, height, width)
                waiting.append(patches.gather(image, size, shares[index]))
                if sum(map(len, waiting)) >= 20000 or index == len(rows) - 1:
                    block = np.concatenate(waiting)
                    data[start : start + len(block)] = block
                    start, waiting = start + len(block), []
                    if name == "patches":
                        flat = patches.remove_dc(block.astype(np.float64) / scale, dc)
                        moments.add(patches.normalise_contrast(flat, contrast))
            data.flush()
        spectrum = np.maximum(np.linalg.eigvalsh(moments.covariance)[::-1], 0)
        facts = {"dc": dc, "contrast": contrast or 0.0, "scale": scale}
        file.attrs.update(facts)
        arrays = {"mean": moments.mean, "covariance": moments.covariance, "eigenvalues": spectrum}
        for name, array in arrays.items():
            write_array(file, name, array)
    log.info("rank %d of %d", whitening.rank(spectrum), channels * size * size)
