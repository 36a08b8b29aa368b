"""Restore all test images from the feature maps of one layer by one recipe."""

from deep_restoration import runtime

with runtime.job(snakemake.log[0], snakemake.threads):
    import time
    from pathlib import Path

    import numpy as np
    import torch

    from deep_restoration import classifiers, images, inverters, preimage, storage
    from deep_restoration.priors import recipe

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    layer, where = snakemake.wildcards.layer, runtime.device()
    plan, seed = settings["recipe"], settings["seed"]
    provenance = runtime.provenance(snakemake.params)
    files = [inputs.network, inputs.images, *inputs.get("priors", []), *inputs.get("inverter", [])]
    network = classifiers.load(inputs.network, [layer])
    network.to(where, memory_format=torch.channels_last)
    with storage.open_hdf5(inputs.images, "images") as file:
        names, pixels = storage.read_names(file), file["images"][...]
    size, batch, restored, rows, seconds = pixels.shape[1], 64, [], [], 0.0
    see = settings["sees"]
    for start in range(0, len(names), batch):
        part = images.as_tensor(pixels[start : start + batch]).to(where)
        checkpoint = runtime.Checkpoint(
            f"{output.images}.{start}", [provenance, start, *runtime.stamps(*files)]
        )
        with torch.no_grad():
            (target,) = network(part).values()
        began, predicted = time.monotonic(), None
        if plan.get("inverter"):
            chain = inverters.load(inputs.inverter[0]).to(where)
            began = time.monotonic()
            with torch.no_grad():
                predicted = chain.image(target).clamp(0, 1)
        ready = time.monotonic() - began
        if plan.get("phases"):
            learned = {Path(path).stem: path for path in inputs.priors}
            priors = recipe.build(plan.get("priors") or {}, learned, see, network.mean, predicted)
            result = preimage.reconstruct(
                network,
                target,
                names[start : start + batch],
                size,
                network.mean,
                priors,
                preimage.plan_of(plan, see),
                seed,
                checkpoint,
                predicted,
                part,
            )
            result.seconds += ready
            result.trace = [(*row[:3], row[3] + ready) for row in result.trace]
        else:
            error = float((predicted - part).square().mean())
            result = preimage.Result(predicted, [(0, "image", error, ready)], ready)
        restored.append(result.images.cpu().numpy())
        rows += [(start, *row) for row in result.trace]
        seconds += result.seconds
        checkpoint.remove()
    restored = np.concatenate(restored).transpose(0, 2, 3, 1)
    with storage.create_hdf5(output.images, "reconstructions", provenance) as file:
        shape = restored.shape
        data = storage.dataset(file, "images", shape, np.float32, "sRGB, 0..1, N x H x W x 3")
        data[...] = restored
        storage.write_names(file, names)
    rows.append((0, 0, "seconds per image", seconds / len(names), seconds))
    storage.write_csv(output.trace, ("batch", "iteration", "term", "value", "seconds"), rows)
