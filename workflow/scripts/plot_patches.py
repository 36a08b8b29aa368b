"""Draw the eigenvalue spectra of patches of images and of feature maps."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from pathlib import Path

    from deep_restoration.figures import maps
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5

    spectra = {}
    for path in snakemake.input:
        with open_hdf5(path, "patches") as file:
            spectra[Path(path).stem] = file["eigenvalues"][...]
    title = f"{snakemake.wildcards.classifier}: covariance spectra of patches"
    save_figure(maps.spectra(spectra, title), snakemake.output.png, snakemake.output.svg)
