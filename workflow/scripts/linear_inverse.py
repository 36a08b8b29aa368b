"""Invert the first convolution of a classifier linearly, and measure how far that is from a convolution."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime import devices

with job(snakemake):
    from deep_restoration.files.hdf5 import create_hdf5, write_arrays
    from deep_restoration.files.tables import write_rows
    from deep_restoration.linear import study
    from deep_restoration.linear.optimum import StationaryPrior
    from deep_restoration.networks import first_layer, saved

    inputs, output, settings = snakemake.input, snakemake.output, snakemake.params.settings
    where, name = devices.device(), {"classifier": snakemake.wildcards.classifier}
    network = saved.load(inputs.network, [first_layer.first_convolution(inputs.network)])
    convolution = study.of_network(network).to(where)
    train = study.images_of(inputs.train, settings["prior_images"]).to(where)
    truth = study.images_of(inputs.test, settings["images"]).to(where)
    prior = StationaryPrior.fit(train.split(16), min(settings["window"], train.shape[2]))
    shares, sizes, seed = (settings[key] for key in ("noise", "sizes", "seed"))
    errors, found = study.by_noise(convolution, prior, truth, shares, sizes, seed)
    shapes = study.shapes(convolution, prior, shares[0])
    write_rows(output.errors, [name | row for row in errors], (*name, *study.COLUMNS))
    write_rows(output.shapes, [name | row for row in shapes], (*name, *study.SHAPE_COLUMNS))
    arrays = study.kernels(convolution, prior, shares[0])
    arrays |= {"original": truth[0], "reconstructed": study.first_images(found, prior)}
    with create_hdf5(output.arrays, "linear_inverse", provenance_of(snakemake.params)) as file:
        write_arrays(file, {key: value.cpu().numpy() for key, value in arrays.items()})
        file.attrs.update({"labels": study.labels(found), "stride": convolution.stride[0]})
