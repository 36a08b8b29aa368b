"""Sample patches of images or of feature maps uniformly, store them, and their mean and covariance."""

from deep_restoration.jobs.job import job, log, provenance_of

with job(snakemake):
    import math

    import numpy as np

    from deep_restoration.data import patches, splits
    from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, write_arrays
    from deep_restoration.priors import whitening
    from deep_restoration.statistics.moments import Moments

    settings, provenance = snakemake.params.settings, provenance_of(snakemake.params)
    how = {key: settings[key] for key in ("of", "size", "dc", "contrast")}
    stage, count = "features" if how["of"] == "features" else "images", settings["count"]
    with open_hdf5(snakemake.input[0], stage) as source:
        sampler = patches.Sampler(source[stage], np.random.default_rng(settings["seed"]), **how)
        moments = Moments(math.prod(sampler.shape))
        kept = splits.held_out(len(source[stage]), settings["held_out"])
        with create_hdf5(snakemake.output[0], "patches", provenance) as file:
            sampler.store(file, "patches", np.flatnonzero(~kept), count, moments.add)
            sampler.store(file, "held_out", np.flatnonzero(kept), max(100, count // 20))
            facts = {"dc": how["dc"], "contrast": how["contrast"] or 0.0, "scale": sampler.scale}
            file.attrs.update(facts)
            arrays = {"mean": moments.mean, "covariance": moments.covariance}
            write_arrays(file, arrays | {"eigenvalues": moments.spectrum})
    log.info("rank %d of %d", whitening.rank(moments.spectrum), math.prod(sampler.shape))
