# How good the reconstructed images are: one table per layer, then the study's tables.


include: "functions/evaluation.smk"


rule evaluate:
    "Measure the images reconstructed from one layer."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/test.h5",
        train="results/images/train.h5",
        reconstructed=recipes_of("results/reconstructions/{classifier}/{layer}/{recipe}.h5"),
        traces=recipes_of("results/reconstructions/{classifier}/{layer}/{recipe}.trace.csv"),
    output:
        images="results/evaluation/{classifier}/{layer}.csv",
        maps="results/evaluation/{classifier}/{layer}.statistics.csv",
    log:
        "logs/evaluate/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/evaluate/{classifier}/{layer}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(3000),
        runtime=grows(30),
    params:
        recipes=list(STUDY["recipes"]),
        baselines=True,
        statistics={key: STUDY["statistics"][key] for key in ("positions", "radius")},
        code=code("evaluate.py"),
        store=store,
    message:
        "Measuring the images reconstructed from {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/evaluate.py"


rule measure_moved:
    "Measure photographs against themselves, moved by a few pixels."
    input:
        network="results/classifiers/{classifier}.safetensors",
    output:
        "results/moved/{classifier}.csv",
    log:
        "logs/measure_moved/{classifier}.log",
    benchmark:
        "logs/benchmarks/measure_moved/{classifier}.tsv"
    resources:
        mem_mb=grows(3000),
        runtime=grows(30),
    params:
        settings=moved_settings,
        folder=test_folder,
        hashes=str(IMAGE_HASHES),
        code=code("measure_moved.py"),
        store=store,
    message:
        "Measuring moved photographs for {wildcards.classifier}"
    script:
        "../scripts/measure_moved.py"


rule moved_table:
    "Gather the table of moved photographs."
    input:
        expand("results/moved/{classifier}.csv", classifier=STUDY["classifiers"]),
    output:
        report("results/tables/moved.csv", caption="../report/moved_table.rst", category="Tables"),
    log:
        "logs/moved_table.log",
    benchmark:
        "logs/benchmarks/moved_table.tsv"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        settings={"seed": STUDY["seed"]},
        code=code("moved_table.py"),
    message:
        "Gathering what the measures say of moved photographs"
    script:
        "../scripts/moved_table.py"


rule tables:
    "Gather the tables of reconstructed images: all, summary, best recipes, feature maps."
    input:
        images=every_layer("results/evaluation/{classifier}/{layer}.csv"),
        maps=every_layer("results/evaluation/{classifier}/{layer}.statistics.csv"),
    output:
        images=report(
            "results/tables/reconstruction.csv",
            caption="../report/reconstruction_table.rst",
            category="Tables",
        ),
        summary=report(
            "results/tables/reconstruction_summary.csv",
            caption="../report/summary_table.rst",
            category="Tables",
        ),
        families=report(
            "results/tables/comparison.csv",
            caption="../report/comparison_table.rst",
            category="Tables",
        ),
        maps=report(
            "results/tables/feature_statistics.csv",
            caption="../report/feature_statistics_table.rst",
            category="Tables",
        ),
    log:
        "logs/tables.log",
    benchmark:
        "logs/benchmarks/tables.tsv"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        settings={"seed": STUDY["seed"]},
        learned=families.learned(STUDY),
        code=code("tables.py"),
    message:
        "Gathering the tables"
    script:
        "../scripts/tables.py"
