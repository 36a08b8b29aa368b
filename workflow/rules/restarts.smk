# How ambiguous a layer is: the same test images reconstructed from several restarts. Only with `restarts:`.


include: "functions/restarts.smk"


rule reconstruct_restarts:
    "Reconstruct the test images from one layer by one recipe, from other restarts."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/test.h5",
        reconstructed="results/reconstructions/{classifier}/{layer}/{recipe}.h5",
        priors=recipe_priors,
        feature_priors=recipe_feature_priors,
        surrogates=recipe_surrogates,
        statistics=recipe_statistics,
        found=recipe_found,
    output:
        "results/restarts/{classifier}/{layer}/{recipe}.h5",
    log:
        "logs/reconstruct_restarts/{classifier}/{layer}/{recipe}.log",
    benchmark:
        "logs/benchmarks/reconstruct_restarts/{classifier}/{layer}/{recipe}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(720),
    params:
        settings=restarts_settings,
        code=code("reconstruct_restarts.py"),
        store=store,
    message:
        "Reconstructing images from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe} from other restarts"
    script:
        "../scripts/reconstruct_restarts.py"


rule measure_restarts:
    "Measure how far apart the images lie that several restarts lead to, at one layer."
    input:
        network="results/classifiers/{classifier}.safetensors",
        train="results/images/train.h5",
        restarts=restarted("results/restarts/{classifier}/{layer}/{recipe}.h5"),
    output:
        "results/restarts/{classifier}/{layer}.csv",
    log:
        "logs/measure_restarts/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/measure_restarts/{classifier}/{layer}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(3000),
        runtime=grows(30),
    params:
        recipes=STUDY["restarts"]["recipe"],
        code=code("measure_restarts.py"),
        store=store,
    message:
        "Measuring how far restarts lie apart for {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/measure_restarts.py"


rule restarts_table:
    "Gather the table of several restarts."
    input:
        every_layer("results/restarts/{classifier}/{layer}.csv"),
    output:
        report(
            "results/tables/restarts.csv",
            caption="../report/restarts_table.rst",
            category="Tables",
        ),
    log:
        "logs/restarts_table.log",
    benchmark:
        "logs/benchmarks/restarts_table.tsv"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        settings={"seed": STUDY["seed"]},
        code=code("restarts_table.py"),
    message:
        "Gathering the spread over restarts"
    script:
        "../scripts/restarts_table.py"


rule plot_restarts:
    "Draw the images that several restarts lead to, their mean and their deviation."
    input:
        layers_of("results/restarts/{classifier}/{layer}/{recipe}.h5"),
    output:
        png=drawn(
            "results/figures/{classifier}/restarts/{recipe}.png",
            "restarts",
            classifier="{classifier}",
            recipe="{recipe}",
        ),
        svg="results/figures/{classifier}/restarts/{recipe}.svg",
    log:
        "logs/plot_restarts/{classifier}/{recipe}.log",
    benchmark:
        "logs/benchmarks/plot_restarts/{classifier}/{recipe}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        layers=lambda wildcards: STUDY["classifiers"][wildcards.classifier]["layers"],
        code=code("plot_restarts.py"),
    script:
        "../scripts/plot_restarts.py"


rule plot_ambiguity:
    "Draw how ambiguous each layer is."
    input:
        "results/tables/restarts.csv",
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
