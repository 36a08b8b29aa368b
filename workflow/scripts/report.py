"""Write the report: one HTML file with every figure, table and setting inside."""

from deep_restoration.jobs.job import job, log

with job(snakemake):
    from pathlib import Path

    from deep_restoration.files.atomic import versions, write_text
    from deep_restoration.files.tables import read_rows
    from deep_restoration.report import assembly

    inputs = snakemake.input
    html = assembly.render(
        template=Path(inputs.template),
        captions={Path(path).stem: Path(path) for path in inputs.captions},
        figures=snakemake.params.figures,
        summary=read_rows(inputs.summary),
        statistics=[row for path in inputs.statistics for row in read_rows(path)],
        stationarity=[row for path in inputs.stationarity for row in read_rows(path)],
        published=read_rows(inputs.published),
        quality=read_rows(inputs.quality),
        maps=read_rows(inputs.maps),
        linear=[row for path in inputs.linear for row in read_rows(path)],
        shapes=[row for path in inputs.shapes for row in read_rows(path)],
        **{
            name: [row for path in [inputs.get(name)] if path for row in read_rows(path)]
            for name in ("priors", "denoising", "starts", "adding")
        },
        accuracy={
            Path(path).name.removesuffix(".accuracy.csv"): read_rows(path)
            for path in inputs.accuracy
        },
        study=snakemake.params.study,
        versions=versions("torch", "torchvision", "numpy", "scikit-image", "snakemake"),
    )
    write_text(snakemake.output[0], html)
    log.info("%.1f MB", len(html) / 1e6)
