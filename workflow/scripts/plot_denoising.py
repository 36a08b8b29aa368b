"""Draw images denoised under every prior of one kind of colour."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from deep_restoration import prior_figures, storage

    shown, psnr = {}, {}
    for table, path in zip(snakemake.input.tables, snakemake.input.images, strict=True):
        rows = storage.read_rows(table)
        name = f"{rows[0]['prior']}\n{rows[0]['estimator']}"
        values = {row["image"]: row for row in rows}
        with storage.open_hdf5(path, "denoised") as file:
            for group in (file[key] for key in sorted(file)):
                image = str(group.attrs["name"])
                pictures = shown.setdefault(image, {k: group[k][...] for k in ("clean", "noisy")})
                pictures[name] = group["restored"][...]
                row = values[
                    image.encode("utf-8", "backslashreplace").decode().replace("\r", "\\r")
                ]
                found = psnr.setdefault(image, {"noisy": float(row["psnr_noisy"])})
                found[name] = float(row["psnr"])
    title = f"denoising, standard deviation {snakemake.params.sigma:g} of 255, in the middle of the images"
    figure = prior_figures.denoising(shown, psnr, title)
    storage.save_figure(figure, snakemake.output.png, snakemake.output.svg)
