# What priors of feature maps add to a recipe, layer by layer. Only with `prior_selection:`.


include: "functions/prior_selection.smk"


rule select_priors:
    "Add priors of feature maps to a recipe at one layer, one by one in three orders, and measure each."
    input:
        network="results/classifiers/{classifier}.safetensors",
        held_out="results/images/train.h5",
        images="results/images/test.h5",
        priors=lambda wildcards: recipe_priors(base_recipe(wildcards)),
        feature_priors=added_priors,
        inverter=base_inverter,
        surrogates=base_surrogates,
        statistics=base_statistics,
        found=base_found,
    output:
        table="results/prior_selection/{classifier}/{layer}.csv",
        trials="results/prior_selection/{classifier}/{layer}.trials.csv",
        images="results/prior_selection/{classifier}/{layer}.h5",
    log:
        "logs/select_priors/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/select_priors/{classifier}/{layer}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(1440),
    params:
        settings=prior_selection_settings,
        code=code("select_priors.py"),
        store=store,
    message:
        "Adding priors of feature maps for {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/select_priors.py"


rule prior_selection_table:
    "Gather the table of added priors."
    input:
        added("results/prior_selection/{classifier}/{layer}.csv"),
    output:
        report(
            "results/tables/prior_selection.csv",
            caption="../report/prior_selection_table.rst",
            category="Tables",
        ),
    log:
        "logs/prior_selection_table.log",
    benchmark:
        "logs/benchmarks/prior_selection_table.tsv"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code("prior_selection_table.py"),
    message:
        "Gathering what priors of feature maps add"
    script:
        "../scripts/prior_selection_table.py"


rule plot_prior_selection:
    "Draw what each added prior of feature maps changes."
    input:
        table="results/tables/prior_selection.csv",
        images=added_of("results/prior_selection/{classifier}/{layer}.h5"),
    output:
        lines=drawn(
            "results/figures/{classifier}/prior_selection.png",
            "prior_selection",
            classifier="{classifier}",
        ),
        lines_svg="results/figures/{classifier}/prior_selection.svg",
        images=drawn(
            "results/figures/{classifier}/prior_selection_images.png",
            "prior_selection_images",
            classifier="{classifier}",
        ),
        images_svg="results/figures/{classifier}/prior_selection_images.svg",
    log:
        "logs/plot_prior_selection/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_prior_selection/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        layers=lambda wildcards: with_layers_in_front(wildcards.classifier),
        code=code("plot_prior_selection.py"),
    script:
        "../scripts/plot_prior_selection.py"
