"""Write the report: one HTML file with every figure, table and setting inside."""

from deep_restoration.jobs.job import job, log

with job(snakemake):
    from pathlib import Path

    from deep_restoration.files.atomic import versions, write_text
    from deep_restoration.files.tables import read_rows, read_tables
    from deep_restoration.report import assembly

    inputs, params, accuracy = snakemake.input, snakemake.params, ".accuracy.csv"
    tables = ("summary", "published", "quality", "maps", "priors", "denoising", "statistics")
    tables += ("stationarity", "linear", "shapes", "restarts", "prior_selection")
    html = assembly.render(
        template=Path(inputs.template),
        workflow=Path(inputs.workflow),
        captions={Path(path).stem: Path(path) for path in inputs.captions},
        figures=params.figures,
        accuracy={Path(p).name.removesuffix(accuracy): read_rows(p) for p in inputs.accuracy},
        study=params.study,
        versions=versions("torch", "torchvision", "numpy", "scikit-image", "snakemake"),
        **{name: read_tables(inputs.get(name, ())) for name in tables},
    )
    write_text(snakemake.output[0], html)
    log.info("%.1f MB", len(html) / 1e6)
