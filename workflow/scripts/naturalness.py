"""Energies of natural images, or feature maps, and of unnatural ones, under learned priors."""

from deep_restoration.jobs.job import job
from deep_restoration.runtime import devices

with job(snakemake):
    from collections import defaultdict
    from contextlib import ExitStack

    import numpy as np
    import torch

    from deep_restoration.data import images
    from deep_restoration.files.hdf5 import open_hdf5, read_names
    from deep_restoration.files.tables import write_csv
    from deep_restoration.networks import saved
    from deep_restoration.priors import discrimination
    from deep_restoration.priors.registry import load

    inputs, names_of = snakemake.input, snakemake.params.names
    where, batch = devices.device(), 16
    layer = snakemake.wildcards.get("layer")
    network = saved.load(inputs.network, [layer]).to(where) if layer else None
    files = ExitStack()  # in which all images stay: at full size they are a terabyte
    truth = files.enter_context(open_hdf5(inputs.images, "images"))
    names = read_names(truth)
    restored = {
        label: files.enter_context(open_hdf5(path, "reconstructions"))["images"]
        for label, path in zip(names_of["sets"], inputs.restored, strict=True)
    }

    def pictures(part: slice) -> dict[str, torch.Tensor]:
        """Of every set, the images of a part."""
        natural = images.as_tensor(truth["images"][part])
        found = {discrimination.NATURAL: natural}
        found |= discrimination.unnatural(natural, names[part], snakemake.params.settings["seed"])
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
                    found[label].append(discrimination.energies(prior, [seen(part, grey)]))
            energies = {label: np.concatenate(parts) for label, parts in found.items()}
            rows += [(name, layer or "image", *row) for row in discrimination.compare(energies)]
    columns = ("prior", "layer", *discrimination.COLUMNS)
    write_csv(snakemake.output[0], columns, rows)
