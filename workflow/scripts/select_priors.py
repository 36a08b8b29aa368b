"""Add priors of feature maps to a recipe in three orders, and measure what each addition is worth."""

from deep_restoration.jobs.job import job, provenance_of
from deep_restoration.runtime.checkpoints import content_stamps

with job(snakemake):
    from deep_restoration.evaluation import baselines
    from deep_restoration.files.hdf5 import create_hdf5
    from deep_restoration.files.tables import write_csv
    from deep_restoration.inversion import prior_selection
    from deep_restoration.inversion.reconstructor import prepared
    from deep_restoration.runtime.memo import Memo

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    where, how, seed = snakemake.wildcards, settings["prior_selection"], settings["seed"]
    provenance = provenance_of(snakemake.params)
    reconstructor, recipe = prepared(inputs, where.layer, settings)
    files = inputs.held_out, inputs.images
    sets = prior_selection.read_sets(*files, how, settings["held_out"])
    stamps = content_stamps(*files, *reconstructor.files)
    done = Memo(output.images, [provenance, recipe.facts(), *stamps])
    trials = prior_selection.Trials(reconstructor, recipe, how["prior"], sets, seed, done)
    orders = prior_selection.add(settings["candidates"], how["weights"], trials.score)
    rows = prior_selection.tested(trials, orders, baselines.read(inputs.held_out))
    with create_hdf5(output.images, "prior_selection", provenance) as file:
        prior_selection.write_pictures(file, trials.pictures, sets["test"][1][:1])
    write_csv(output.trials, prior_selection.TRIALS, trials.rows())
    table = ((where.classifier, where.layer, *row) for row in rows)
    write_csv(output.table, prior_selection.COLUMNS, table)
    done.remove()
