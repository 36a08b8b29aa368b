# Which layers an entry of `visualisations` shows, and what its pictures depend on.


def visualised_layers(classifier, name):
    """Layers of a classifier that an entry of `visualisations` shows."""
    entry = STUDY["classifiers"][classifier]
    known = preflight.describe(entry["architecture"], STUDY["images"]["size"])["layers"]
    return visualisations.layers_of(STUDY["visualisations"][name], entry, known)


def visualisation_figures():
    """Classifier, kind and name of every figure."""
    return [
        (classifier, entry["kind"], name)
        for name, entry in STUDY["visualisations"].items()
        for classifier in STUDY["classifiers"]
        if visualised_layers(classifier, name)
    ]


def visualisation_plan(wildcards):
    """How the pictures are optimised: the recipe of the entry, with what the entry changes."""
    return visualisations.plan(STUDY, STUDY["visualisations"][wildcards.visualisation])


def visualisation_priors(wildcards):
    """Files of the learned priors of images that the pictures need."""
    return used_priors(visualisation_plan(wildcards))


def visualisation_feature_priors(wildcards):
    """Files of the priors of feature maps that the pictures need."""
    return used_feature_priors(visualisation_plan(wildcards), wildcards)


def visualisation_train(wildcards):
    """The training images, where the entry looks at any."""
    entry = STUDY["visualisations"][wildcards.visualisation]
    return ["results/images/train.h5"] if "training_images" in entry else []


def visualisation_test(wildcards):
    """The test images, where the entry shows any."""
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
        if key not in ("layers", "recipe", "data_weight", *visualisations.planned(entry["kind"]))
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
    """The pictures of every layer that the entry shows."""
    layers = visualised_layers(wildcards.classifier, wildcards.visualisation)
    path = "results/visualisations/{classifier}/{layer}/{visualisation}.h5"
    return expand(path, layer=layers, allow_missing=True)


def visualisation_drawing(wildcards):
    """What the figure shows, and in which order."""
    entry = STUDY["visualisations"][wildcards.visualisation]
    settings = {key: entry.get(key) for key in ("images", "methods", "content")}
    layers = visualised_layers(wildcards.classifier, wildcards.visualisation)
    return canonical(settings | {"layers": layers})
