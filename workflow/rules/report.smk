# One self-contained HTML file that opens offline.


include: "functions/report.smk"


rule report:
    "Write the report: one HTML file that opens offline."
    input:
        summary="results/tables/reconstruction_summary.csv",
        statistics=every_layer("results/statistics/{classifier}/{layer}.csv"),
        stationarity=every_layer("results/statistics/{classifier}/{layer}.stationarity.csv"),
        published="results/tables/published.csv",
        quality="results/tables/time_to_quality.csv",
        maps="results/tables/feature_statistics.csv",
        priors="results/tables/priors.csv" if STUDY["priors"] else [],
        denoising="results/tables/denoising.csv" if STUDY["priors"] else [],
        linear=linear_inverses("csv"),
        shapes=linear_inverses("shapes.csv"),
        accuracy=expand(
            "results/classifiers/{classifier}.accuracy.csv", classifier=STUDY["classifiers"]
        ),
        restarts="results/tables/restarts.csv" if STUDY["restarts"] else [],
        prior_selection="results/tables/prior_selection.csv" if STUDY["prior_selection"] else [],
        figures=all_figures(),
        template=str(CAPTIONS / "report.html.j2"),
        workflow=str(CAPTIONS / "workflow.svg"),
        captions=[
            str(CAPTIONS / f"{name}.rst")
            for name in [*REPORT_SECTIONS, "introduction", "workflow"]
        ],
    output:
        "results/report.html",
    log:
        "logs/report.log",
    benchmark:
        "logs/benchmarks/report.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        figures=figure_entries(),
        study=canonical(STUDY),
        code=code("report.py"),
    message:
        "Writing the report"
    script:
        "../scripts/report.py"
