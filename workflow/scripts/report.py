"""Write the report: one HTML file with every figure, table and setting inside."""

from deep_restoration import runtime

with runtime.job(snakemake):
    from pathlib import Path

    from deep_restoration import report, storage

    inputs = snakemake.input
    html = report.render(
        template=Path(inputs.template),
        captions={Path(path).stem: Path(path) for path in inputs.captions},
        figures=snakemake.params.figures,
        summary=storage.read_rows(inputs.summary),
        statistics=[row for path in inputs.statistics for row in storage.read_rows(path)],
        stationarity=[row for path in inputs.stationarity for row in storage.read_rows(path)],
        published=storage.read_rows(inputs.published),
        quality=storage.read_rows(inputs.quality),
        maps=storage.read_rows(inputs.maps),
        priors=storage.read_rows(inputs.priors),
        denoising=storage.read_rows(inputs.denoising),
        linear=[row for path in inputs.linear for row in storage.read_rows(path)],
        shapes=[row for path in inputs.shapes for row in storage.read_rows(path)],
        **{
            name: [row for path in [inputs.get(name)] if path for row in storage.read_rows(path)]
            for name in ("starts", "adding")
        },
        accuracy={
            Path(path).name.removesuffix(".accuracy.csv"): storage.read_rows(path)
            for path in inputs.accuracy
        },
        study=snakemake.params.study,
        versions=storage.versions("torch", "torchvision", "numpy", "scikit-image", "snakemake"),
    )
    storage.write_text(snakemake.output[0], html)
    runtime.log.info("%.1f MB", len(html) / 1e6)
