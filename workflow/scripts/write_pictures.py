"""Write every reconstructed test image of a classifier as a PNG of its own."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from pathlib import Path

    from deep_restoration.files.hdf5 import open_hdf5, read_names
    from deep_restoration.files.pictures import write_pictures

    for path in map(Path, snakemake.input):
        with open_hdf5(path, "reconstructions") as file:
            folder = Path(snakemake.output[0], path.parent.name, path.stem)
            write_pictures(folder, read_names(file), file["images"][...])
