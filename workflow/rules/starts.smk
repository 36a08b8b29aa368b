# How ambiguous a layer is: the same test images restored from several starts. Only with `starts:`.


include: "functions/starts.smk"


rule restore_starts:
    "Restore the test images from one layer by one recipe, from other starts."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/test.h5",
        restored="results/reconstructions/{classifier}/{layer}/{recipe}.h5",
        priors=recipe_priors,
        feature_priors=recipe_feature_priors,
        found=recipe_found,
    output:
        "results/starts/{classifier}/{layer}/{recipe}.h5",
    log:
        "logs/restore_starts/{classifier}/{layer}/{recipe}.log",
    benchmark:
        "logs/benchmarks/restore_starts/{classifier}/{layer}/{recipe}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(720),
    params:
        settings=starts_settings,
        code=code("restore_starts.py"),
        store=store,
    message:
        "Restoring images from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe} from other starts"
    script:
        "../scripts/restore_starts.py"


rule measure_starts:
    "Measure how far apart the images lie that several starts lead to, at one layer."
    input:
        network="results/classifiers/{classifier}.safetensors",
        train="results/images/train.h5",
        starts=started("results/starts/{classifier}/{layer}/{recipe}.h5"),
    output:
        "results/starts/{classifier}/{layer}.csv",
    log:
        "logs/measure_starts/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/measure_starts/{classifier}/{layer}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(3000),
        runtime=grows(30),
    params:
        recipes=STUDY["starts"]["recipe"],
        code=code("measure_starts.py"),
        store=store,
    message:
        "Measuring how far starts lie apart for {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/measure_starts.py"


rule starts_table:
    "Gather the table of several starts."
    input:
        every_layer("results/starts/{classifier}/{layer}.csv"),
    output:
        report("results/tables/starts.csv", caption="../report/starts_table.rst", category="Tables"),
    log:
        "logs/starts_table.log",
    benchmark:
        "logs/benchmarks/starts_table.tsv"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        settings={"seed": STUDY["seed"]},
        code=code("starts_table.py"),
    message:
        "Gathering the spread over starts"
    script:
        "../scripts/starts_table.py"


rule plot_starts:
    "Draw the images that several starts lead to, their mean and their deviation."
    input:
        layers_of("results/starts/{classifier}/{layer}/{recipe}.h5"),
    output:
        png=drawn(
            "results/figures/{classifier}/starts/{recipe}.png",
            "starts",
            classifier="{classifier}",
            recipe="{recipe}",
        ),
        svg="results/figures/{classifier}/starts/{recipe}.svg",
    log:
        "logs/plot_starts/{classifier}/{recipe}.log",
    benchmark:
        "logs/benchmarks/plot_starts/{classifier}/{recipe}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        layers=lambda wildcards: STUDY["classifiers"][wildcards.classifier]["layers"],
        code=code("plot_starts.py"),
    script:
        "../scripts/plot_starts.py"


rule plot_ambiguity:
    "Draw how ambiguous each layer is."
    input:
        "results/tables/starts.csv",
    output:
        png=drawn(
            "results/figures/{classifier}/ambiguity.png", "ambiguity", classifier="{classifier}"
        ),
        svg="results/figures/{classifier}/ambiguity.svg",
    log:
        "logs/plot_ambiguity/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_ambiguity/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        code=code("plot_ambiguity.py"),
    script:
        "../scripts/plot_ambiguity.py"
