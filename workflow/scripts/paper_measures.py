"""Measure the restored images of one layer as the papers did, for comparison with their figures."""

from deep_restoration import runtime

with runtime.job(snakemake):
    import torch

    from deep_restoration import classifiers, evaluation, paper_measures, storage

    classifier, layer = snakemake.wildcards.classifier, snakemake.wildcards.layer
    inputs, settings, where = snakemake.input, snakemake.params.settings, runtime.device()
    output = settings["output"]
    wanted = dict.fromkeys([layer, output] if output else [layer])
    network = classifiers.load(inputs.network, list(wanted)).to(where)
    names, pixels, guesses = evaluation.read(inputs.images, inputs.train)

    def seen(batch: torch.Tensor) -> paper_measures.Seen:
        with torch.inference_mode():
            found = network(batch.to(where))
        return found[layer], found[output].flatten(1).argmax(1) if output else None

    measuring, rows = paper_measures.Measuring(seen, pixels), []

    def measure(name: str, found) -> None:
        """Append the rows of `found`, N x H x W x 3."""
        for image, values in zip(names, measuring(found), strict=True):
            rows.append((classifier, layer, name, image, *values))

    for name, guess in guesses.items():
        measure(name, evaluation.everywhere(guess, pixels))
    for recipe, path in zip(settings["recipes"], inputs.restored, strict=True):
        with storage.open_hdf5(path, "reconstructions") as file:
            measure(recipe, file["images"])
    storage.write_csv(snakemake.output[0], paper_measures.COLUMNS, rows)
