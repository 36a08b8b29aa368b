"""Search the weights and rates of one recipe for one layer on held-out training images."""

from deep_restoration.jobs.job import job, log, provenance_of
from deep_restoration.runtime.checkpoints import Checkpoint, content_stamps

with job(snakemake):
    from deep_restoration.data import splits
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import write_csv, write_json
    from deep_restoration.inversion import search
    from deep_restoration.inversion.reconstructor import prepared

    settings, inputs, output = snakemake.params.settings, snakemake.input, snakemake.output
    how, seed, ranges = settings["search"], settings["seed"], settings["recipe"]["search"]
    reconstructor, recipe = prepared(inputs, snakemake.wildcards.layer, settings)
    with open_hdf5(inputs.images, "images") as file:
        names, pixels = splits.some(file, how["images"], settings["held_out"])
    never = Checkpoint(f"{output.found}.trial", None, float("inf"))
    score = search.scoring(reconstructor, recipe, names, pixels, how, seed, never)
    stamps = content_stamps(inputs.images, *reconstructor.files)
    checkpoint = Checkpoint(output.found, [provenance_of(snakemake.params), *stamps])
    values, rows = search.search(score, ranges, how["trials"], seed, checkpoint)
    found = {"values": values, "score": min(row[3] for row in rows)}
    found |= {"measure": how["measure"], "images": names}
    write_csv(output.trials, search.COLUMNS, rows)
    write_json(output.found, found)
    checkpoint.remove()
    log.info("best: %s, score %.5g", values or "as it is", found["score"])
