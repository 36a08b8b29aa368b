"""Energies of natural images, or feature maps, and of unnatural ones, under learned priors."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import torch

    from deep_restoration import classifiers, images, naturalness, storage
    from deep_restoration.priors import load

    inputs, names_of = snakemake.input, snakemake.params.names
    where = runtime.device()
    with storage.open_hdf5(inputs.images, "images") as file:
        names, pixels = storage.read_names(file), file["images"][...]
    natural = images.as_tensor(pixels)
    sets = {naturalness.NATURAL: natural}
    sets |= naturalness.unnatural(natural, names, snakemake.params.settings["seed"])
    for label, path in zip(names_of["sets"], inputs.restored, strict=True):
        with storage.open_hdf5(path, "reconstructions") as file:
            sets[label] = torch.from_numpy(file["images"][...]).permute(0, 3, 1, 2).contiguous()
    layer = snakemake.wildcards.get("layer")
    network = classifiers.load(inputs.network, [layer]).to(where) if layer else None

    def batches(label: str, grey: bool):
        for part in sets[label].split(16):
            part = part.to(where)
            if network:
                with torch.inference_mode():
                    (part,) = network(part).values()
                part = part.clone().reshape(*part.shape, *(1, 1)[: 4 - part.ndim])
            elif grey:
                part = (part * part.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, True)
            yield part

    rows = []
    for name, path in zip(names_of["priors"], inputs.priors, strict=True):
        prior = load(path).to(where)
        grey = prior.facts["of"] == "grey"
        found = {label: naturalness.energies(prior, batches(label, grey)) for label in sets}
        rows += [(name, layer or "image", *row) for row in naturalness.compare(found)]
    columns = ("prior", "layer", *naturalness.COLUMNS)
    storage.write_csv(snakemake.output[0], columns, rows)
