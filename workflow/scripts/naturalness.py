"""Energies of natural images, or feature maps, and of unnatural ones, under learned priors."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from collections import defaultdict
    from contextlib import ExitStack

    import numpy as np
    import torch

    from deep_restoration import classifiers, images, naturalness, storage
    from deep_restoration.priors import load

    inputs, names_of = snakemake.input, snakemake.params.names
    where, batch = runtime.device(), 16
    layer = snakemake.wildcards.get("layer")
    network = classifiers.load(inputs.network, [layer]).to(where) if layer else None
    files = ExitStack()  # in which all images stay: at full size they are a terabyte
    truth = files.enter_context(storage.open_hdf5(inputs.images, "images"))
    names = storage.read_names(truth)
    restored = {
        label: files.enter_context(storage.open_hdf5(path, "reconstructions"))["images"]
        for label, path in zip(names_of["sets"], inputs.restored, strict=True)
    }

    def pictures(part: slice) -> dict[str, torch.Tensor]:
        """Of every set, the images of a part."""
        natural = images.as_tensor(truth["images"][part])
        found = {naturalness.NATURAL: natural}
        found |= naturalness.unnatural(natural, names[part], snakemake.params.settings["seed"])
        for label, data in restored.items():
            found[label] = torch.from_numpy(data[part]).permute(0, 3, 1, 2).contiguous()
        return found

    def seen(part: torch.Tensor, grey: bool) -> torch.Tensor:
        """What a prior is asked about."""
        part = part.to(where)
        if network:
            with torch.inference_mode():
                (part,) = network(part).values()
            return part.clone().reshape(*part.shape, *(1, 1)[: 4 - part.ndim])
        if grey:
            part = (part * part.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, True)
        return part

    rows = []
    with files:
        for name, path in zip(names_of["priors"], inputs.priors, strict=True):
            prior = load(path).to(where)
            grey, found = prior.facts["of"] == "grey", defaultdict(list)
            for start in range(0, len(names), batch):
                for label, part in pictures(slice(start, start + batch)).items():
                    found[label].append(naturalness.energies(prior, [seen(part, grey)]))
            energies = {label: np.concatenate(parts) for label, parts in found.items()}
            rows += [(name, layer or "image", *row) for row in naturalness.compare(energies)]
    columns = ("prior", "layer", *naturalness.COLUMNS)
    storage.write_csv(snakemake.output[0], columns, rows)
