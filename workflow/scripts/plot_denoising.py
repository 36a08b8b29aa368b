"""Draw images denoised under every prior of one kind of colour."""

from deep_restoration.jobs.job import job

with job(snakemake):
    from deep_restoration.figures import priors
    from deep_restoration.figures.style import save_figure
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.files.tables import read_rows

    shown, psnr = {}, {}
    for table, path in zip(snakemake.input.tables, snakemake.input.images, strict=True):
        rows = read_rows(table)
        name = f"{rows[0]['prior']}\n{rows[0]['estimator']}"
        values = {row["image"]: row for row in rows}
        with open_hdf5(path, "denoised") as file:
            for group in (file[key] for key in sorted(file)):
                image = str(group.attrs["name"])
                pictures = shown.setdefault(image, {k: group[k][...] for k in ("clean", "noisy")})
                pictures[name] = group["denoised"][...]
                row = values[
                    image.encode("utf-8", "backslashreplace").decode().replace("\r", "\\r")
                ]
                found = psnr.setdefault(image, {"noisy": float(row["psnr_noisy"])})
                found[name] = float(row["psnr"])
    title = f"denoising, standard deviation {snakemake.params.sigma:g} of 255, in the middle of the images"
    figure = priors.denoising(shown, psnr, title)
    save_figure(figure, snakemake.output.png, snakemake.output.svg)
