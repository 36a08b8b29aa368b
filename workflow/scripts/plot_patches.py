"""Draw the eigenvalue spectra of patches of images and of feature maps."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from pathlib import Path

    from deep_restoration import map_figures, storage

    spectra = {}
    for path in snakemake.input:
        with storage.open_hdf5(path, "patches") as file:
            spectra[Path(path).stem] = file["eigenvalues"][...]
    title = f"{snakemake.wildcards.classifier}: covariance spectra of patches"
    storage.save_figure(
        map_figures.spectra(spectra, title), snakemake.output.png, snakemake.output.svg
    )
