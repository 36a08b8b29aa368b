"""Make one kind of picture from one layer of a classifier."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    from deep_restoration.files.hdf5 import create_hdf5
    from deep_restoration.inversion import visualisation

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output[0]
    provenance, layer = provenance_of(snakemake.params), snakemake.wildcards.layer
    visualiser = visualisation.Visualiser(
        inputs.network,
        layer,
        settings["sees"],
        visualisation.layers_of(settings),
        inputs.priors,
        inputs.feature_priors,
    )
    stamps = content_stamps(*inputs.train, *inputs.test, *visualiser.files)
    checkpoint = Checkpoint(output, [provenance, *stamps])
    made = visualisation.make(visualiser, settings, inputs.train, inputs.test, checkpoint)
    with create_hdf5(output, "visualisation", provenance) as file:
        made.write(file)
    checkpoint.remove()
