# Reconstructed images measured as the papers did, beside what these report; and how long quality takes.


include: "functions/published.smk"


rule paper_measures:
    "Measure the images reconstructed from one layer as the papers did."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/test.h5",
        train="results/images/train.h5",
        reconstructed=recipes_of("results/reconstructions/{classifier}/{layer}/{recipe}.h5"),
    output:
        "results/evaluation/{classifier}/{layer}.papers.csv",
    log:
        "logs/paper_measures/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/paper_measures/{classifier}/{layer}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(5000),
        runtime=grows(60),
    params:
        settings=paper_settings,
        code=code("paper_measures.py"),
        store=store,
    message:
        "Measuring as the papers did: {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/paper_measures.py"


rule published_tables:
    "Gather our measures by the papers' definitions, and set the papers' figures beside them."
    input:
        measures=every_layer("results/evaluation/{classifier}/{layer}.papers.csv"),
        published=PUBLISHED,
    output:
        measures=report(
            "results/tables/paper_measures.csv",
            caption="../report/paper_measures_table.rst",
            category="Tables",
        ),
        published=report(
            "results/tables/published.csv",
            caption="../report/published_table.rst",
            category="Tables",
        ),
    log:
        "logs/published_tables.log",
    benchmark:
        "logs/benchmarks/published_tables.tsv"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        settings=published_settings(),
        code=code("published_tables.py"),
    message:
        "Setting published figures beside ours"
    script:
        "../scripts/published_tables.py"


rule time_to_quality:
    "Find out when each recipe reaches which quality."
    input:
        every_layer(
            "results/reconstructions/{classifier}/{layer}/{recipe}.trace.csv",
            recipe=STUDY["recipes"],
        ),
    output:
        report(
            "results/tables/time_to_quality.csv",
            caption="../report/time_to_quality_table.rst",
            category="Tables",
        ),
    log:
        "logs/time_to_quality.log",
    benchmark:
        "logs/benchmarks/time_to_quality.tsv"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        families=families.of_recipes(STUDY),
        code=code("time_to_quality.py"),
    message:
        "Reading from the traces when each recipe reaches which quality"
    script:
        "../scripts/time_to_quality.py"


rule plot_time_to_quality:
    "Draw the quality of reconstructed images against time."
    input:
        layers_of(
            "results/reconstructions/{classifier}/{layer}/{recipe}.trace.csv",
            recipe=STUDY["recipes"],
        ),
    output:
        png=drawn(
            "results/figures/{classifier}/time_to_quality.png",
            "time_to_quality",
            classifier="{classifier}",
        ),
        svg="results/figures/{classifier}/time_to_quality.svg",
    log:
        "logs/plot_time_to_quality/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_time_to_quality/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        families=families.of_recipes(STUDY),
        code=code("plot_time_to_quality.py"),
    script:
        "../scripts/plot_time_to_quality.py"


rule plot_published:
    "Draw our measures beside the papers'."
    input:
        measures="results/tables/paper_measures.csv",
        published="results/tables/published.csv",
    output:
        png=drawn(
            "results/figures/{classifier}/published.png", "published", classifier="{classifier}"
        ),
        svg="results/figures/{classifier}/published.svg",
    log:
        "logs/plot_published/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_published/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        families=families.of_recipes(STUDY),
        code=code("plot_published.py"),
    script:
        "../scripts/plot_published.py"
