# Other pictures that layers give: activation maximisation, caricatures, textures, attribution.


include: "functions/visualisations.smk"


rule visualise:
    "Make the pictures of one visualisation at one layer."
    input:
        network="results/classifiers/{classifier}.safetensors",
        train=visualisation_train,
        test=visualisation_test,
        priors=visualisation_priors,
        feature_priors=visualisation_feature_priors,
    output:
        "results/visualisations/{classifier}/{layer}/{visualisation}.h5",
    log:
        "logs/visualise/{classifier}/{layer}/{visualisation}.log",
    benchmark:
        "logs/benchmarks/visualise/{classifier}/{layer}/{visualisation}.tsv"
    wildcard_constraints:
        layer=names(
            {
                layer
                for classifier, _, name in visualisation_figures()
                for layer in visualised_layers(classifier, name)
            }
        ),
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(240),
    params:
        settings=visualisation_job,
        code=code("visualise.py"),
        store=store,
    message:
        "Making {wildcards.visualisation} from {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/visualise.py"


rule plot_visualisations:
    "Draw the pictures of one visualisation."
    input:
        made=visualisations_of,
        test=visualisation_test,
    output:
        png=drawn(
            "results/figures/{classifier}/{kind}/{visualisation}.png",
            "visualisations",
            classifier="{classifier}",
            kind="{kind}",
            name="{visualisation}",
        ),
        svg="results/figures/{classifier}/{kind}/{visualisation}.svg",
    log:
        "logs/plot_visualisations/{classifier}/{kind}/{visualisation}.log",
    benchmark:
        "logs/benchmarks/plot_visualisations/{classifier}/{kind}/{visualisation}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        settings=visualisation_drawing,
        code=code("plot_visualisations.py"),
    script:
        "../scripts/plot_visualisations.py"
