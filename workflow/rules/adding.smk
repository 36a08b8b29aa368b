# What priors of feature maps add to a recipe, layer by layer. Only with `adding:`.


include: "functions/adding.smk"


rule add_priors:
    "Add priors of feature maps to a recipe at one layer, one by one in three orders, and measure each."
    input:
        network="results/classifiers/{classifier}.safetensors",
        held_out="results/images/train.h5",
        images="results/images/test.h5",
        priors=lambda wildcards: recipe_priors(base_recipe(wildcards)),
        feature_priors=added_priors,
        inverter=base_inverter,
        found=base_found,
    output:
        table="results/adding/{classifier}/{layer}.csv",
        trials="results/adding/{classifier}/{layer}.trials.csv",
        images="results/adding/{classifier}/{layer}.h5",
    log:
        "logs/add_priors/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/add_priors/{classifier}/{layer}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(1440),
    params:
        settings=adding_settings,
        code=code("add_priors.py"),
        store=store,
    message:
        "Adding priors of feature maps for {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/add_priors.py"


rule adding_table:
    "Gather the table of added priors."
    input:
        added("results/adding/{classifier}/{layer}.csv"),
    output:
        report("results/tables/adding.csv", caption="../report/adding_table.rst", category="Tables"),
    log:
        "logs/adding_table.log",
    benchmark:
        "logs/benchmarks/adding_table.tsv"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code("adding_table.py"),
    message:
        "Gathering what priors of feature maps add"
    script:
        "../scripts/adding_table.py"


rule plot_adding:
    "Draw what each added prior of feature maps changes."
    input:
        table="results/tables/adding.csv",
        images=added_of("results/adding/{classifier}/{layer}.h5"),
    output:
        lines=drawn("results/figures/{classifier}/adding.png", "adding", classifier="{classifier}"),
        lines_svg="results/figures/{classifier}/adding.svg",
        images=drawn(
            "results/figures/{classifier}/adding_images.png",
            "adding_images",
            classifier="{classifier}",
        ),
        images_svg="results/figures/{classifier}/adding_images.svg",
    log:
        "logs/plot_adding/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_adding/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        layers=lambda wildcards: with_layers_in_front(wildcards.classifier),
        code=code("plot_adding.py"),
    script:
        "../scripts/plot_adding.py"
