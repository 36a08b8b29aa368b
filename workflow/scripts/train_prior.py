"""Train over-complete ICA on whitened image patches by score matching, and calibrate it."""

from deep_restoration import runtime

with runtime.job(snakemake.log[0], snakemake.threads):
    import numpy as np
    import torch

    from deep_restoration import patches, score_matching, storage
    from deep_restoration.priors.ica import IndependentComponents

    settings, where = dict(snakemake.params.settings), runtime.device()
    seed = settings.pop("seed")
    with storage.open_hdf5(snakemake.input[0], "patches") as file:
        whitening = patches.Whitening(
            *(file[n][...] for n in ("mean", "eigenvalues", "eigenvectors"))
        )
        dc, shape = str(file.attrs["dc"]), file["patches"].shape[1:]
        settings["dimensions"] = settings["dimensions"] or whitening.rank()
        matrix = whitening.matrix(settings["dimensions"])
        project = matrix.astype(np.float32).T
        white = np.empty((len(file["patches"]), settings["dimensions"]), np.float32)
        for start in range(0, len(white), 20000):
            block = file["patches"][start : start + 20000].astype(np.float32) / file.attrs["scale"]
            flat = patches.remove_dc(block, dc) - whitening.mean.astype(np.float32)
            white[start : start + 20000] = flat @ project
    order = torch.randperm(len(white), generator=runtime.generator(seed, "ica", "split"))
    held = max(1, min(len(white) // 20, 5000))
    data = torch.from_numpy(white)
    training, held_out = data[order[held:]].to(where), data[order[:held]].to(where)

    provenance = runtime.provenance(snakemake.params)
    output = snakemake.output
    checkpoint = runtime.Checkpoint(output.prior, [provenance, *runtime.stamps(snakemake.input[0])])
    filters, alphas, history = score_matching.train(
        training, held_out, score_matching.Settings(**settings), seed, checkpoint
    )
    prior = IndependentComponents.from_whitened(
        filters,
        alphas,
        matrix,
        whitening.mean,
        patches.dc_matrix(shape, dc),
        shape,
        settings["expert"],
    )
    energy = -(prior.expert.G(held_out @ filters.T) @ alphas)
    prior.mean, prior.spread = float(energy.mean()), float(energy.std())
    prior.save(output.prior, provenance)
    columns = ("step", "objective", "held_out_objective", "seconds")
    storage.write_csv(output.history, columns, history)
    checkpoint.remove()
    runtime.log.info("held-out objective %.3f", min(row[2] for row in history))
