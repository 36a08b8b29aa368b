# Other pictures that layers give: activation maximisation, caricatures, textures, attribution.


def visualised_layers(classifier, name):
    """Layers of a classifier that an entry of `visualisations` shows."""
    entry = STUDY["classifiers"][classifier]
    known = configuration.describe(entry["architecture"], STUDY["images"]["size"], CACHE)["layers"]
    return visualisation_settings.layers_of(STUDY["visualisations"][name], entry, known)


def visualisation_figures():
    """Classifier, kind and name of every figure."""
    return [
        (classifier, entry["kind"], name)
        for name, entry in STUDY["visualisations"].items()
        for classifier in STUDY["classifiers"]
        if visualised_layers(classifier, name)
    ]


def visualisation_plan(wildcards):
    return visualisation_settings.plan(STUDY, STUDY["visualisations"][wildcards.visualisation])


def visualisation_priors(wildcards):
    return used_priors(visualisation_plan(wildcards))


def visualisation_feature_priors(wildcards):
    return used_feature_priors(visualisation_plan(wildcards), wildcards)


def visualisation_train(wildcards):
    entry = STUDY["visualisations"][wildcards.visualisation]
    return ["results/images/train.h5"] if "training_images" in entry else []


def visualisation_test(wildcards):
    entry = STUDY["visualisations"][wildcards.visualisation]
    return ["results/images/test.h5"] if "images" in entry else []


def visualisation_job(wildcards):
    """Of the entry what the pictures depend on, and of its recipe what they take from it. A texture at a
    layer has the Gram matrices of the layers in front of it, too."""
    entry = STUDY["visualisations"][wildcards.visualisation]
    classifier = STUDY["classifiers"][wildcards.classifier]
    shown = visualised_layers(wildcards.classifier, wildcards.visualisation)
    before = layers_before(wildcards)
    used = [name for name in shown if name in before] if entry["kind"] == "texture" else []
    more = {"architecture": classifier["architecture"]} if entry.get("of") == "class" else {}
    own = {
        key: value
        for key, value in entry.items()
        if key not in ("layers", "recipe", "data_weight", *visualisation_settings.PLAN)
    }
    return canonical(
        more
        | {
            "entry": own,
            "plan": visualisation_plan(wildcards),
            "layers": used,
            "channels": before[wildcards.layer]["shape"][0],
            "sees": sight(wildcards),
            "seed": STUDY["seed"],
            "held_out": STUDY["images"]["held_out"],
            "size": STUDY["images"]["size"],
        }
    )


def visualisations_of(wildcards):
    layers = visualised_layers(wildcards.classifier, wildcards.visualisation)
    path = "results/visualisations/{classifier}/{layer}/{visualisation}.h5"
    return expand(path, layer=layers, allow_missing=True)


def visualisation_drawing(wildcards):
    entry = STUDY["visualisations"][wildcards.visualisation]
    settings = {key: entry.get(key) for key in ("images", "methods", "content")}
    layers = visualised_layers(wildcards.classifier, wildcards.visualisation)
    return canonical(settings | {"layers": layers})


rule visualise:
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
        gpu=GPU,
        mem_mb=4000,
        runtime=240,
    params:
        settings=visualisation_job,
        code=code("visualise.py"),
    message:
        "Making {wildcards.visualisation} from {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/visualise.py"


rule plot_visualisations:
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
        mem_mb=1500,
        runtime=10,
    params:
        settings=visualisation_drawing,
        code=code("plot_visualisations.py"),
    script:
        "../scripts/plot_visualisations.py"
