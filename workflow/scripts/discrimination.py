"""Energies of natural images, or feature maps, and of unnatural ones, under learned priors."""

from deep_restoration.jobs.job import job
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.files.hdf5 import open_hdf5, open_images, read_names
    from deep_restoration.files.tables import write_csv
    from deep_restoration.networks import saved
    from deep_restoration.priors import discrimination
    from deep_restoration.priors.registry import load

    inputs, params, where = snakemake.input, snakemake.params, devices.device()
    layer, rows = snakemake.wildcards.get("layer"), []
    network = saved.load(inputs.network, [layer]).to(where) if layer else None
    files = dict(zip(params.names["sets"], inputs.reconstructed, strict=True))
    with (
        open_hdf5(inputs.images, "images") as truth,
        open_images(files, "reconstructions") as reconstructed,
    ):
        images, names, seed = truth["images"], read_names(truth), params.settings["seed"]
        sets = discrimination.sets_of(images, names, reconstructed, seed)
        for name, path in zip(params.names["priors"], inputs.priors, strict=True):
            prior = load(path).to(where)
            look = discrimination.looking(prior, network, where)
            energies = discrimination.energies_of_sets(prior, sets, len(names), look)
            rows += [(name, layer or "image", *row) for row in discrimination.compare(energies)]
    columns = ("prior", "layer", *discrimination.COLUMNS)
    write_csv(snakemake.output[0], columns, rows)
