# What the rules of several starts, of added priors and of visualisations ask for.


def started(pattern):
    """The pattern for every recipe that is restored from several starts."""
    return expand(pattern, recipe=STUDY["starts"]["recipe"], allow_missing=True)


def starts_settings(wildcards):
    how = {key: STUDY["starts"][key] for key in ("count", "images")}
    return canonical(reconstruction_settings(wildcards) | {"starts": how})


def base_recipe(wildcards):
    """The wildcards of the recipe that priors are added to, at the same layer."""
    here = {key: wildcards[key] for key in ("classifier", "layer")}
    return Wildcards(fromdict=here | {"recipe": STUDY["adding"]["recipe"]})


def added_priors(wildcards):
    """The priors of feature maps that the recipe has, and those to add."""
    path = "results/priors/{classifier}/{layer}/{prior}.safetensors"
    added = expand(
        path,
        classifier=wildcards.classifier,
        layer=layers_in_front(wildcards),
        prior=STUDY["adding"]["prior"],
    )
    return recipe_feature_priors(base_recipe(wildcards)) + added


def base_found(wildcards):
    here = base_recipe(wildcards)
    return [path.format(**dict(here.items())) for path in recipe_found(here)]


def base_inverter(wildcards):
    here = base_recipe(wildcards)
    return [path.format(**dict(here.items())) for path in recipe_inverter(here)]


def adding_settings(wildcards):
    more = {"adding": STUDY["adding"], "held_out": STUDY["images"]["held_out"]}
    more["candidates"] = layers_in_front(wildcards)
    return canonical(recipe_settings(base_recipe(wildcards)) | more)


def added(pattern):
    """The pattern for every layer that has one in front of it."""
    return [
        path
        for classifier in STUDY["classifiers"]
        for path in expand(pattern, classifier=classifier, layer=with_layers_in_front(classifier))
    ]


def added_of(pattern):
    """An input function: the pattern for those of the wildcard's classifier."""
    return lambda wildcards: expand(
        pattern, classifier=wildcards.classifier, layer=with_layers_in_front(wildcards.classifier)
    )


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
    return visualisations.plan(STUDY, STUDY["visualisations"][wildcards.visualisation])


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
    layers = visualised_layers(wildcards.classifier, wildcards.visualisation)
    path = "results/visualisations/{classifier}/{layer}/{visualisation}.h5"
    return expand(path, layer=layers, allow_missing=True)


def visualisation_drawing(wildcards):
    entry = STUDY["visualisations"][wildcards.visualisation]
    settings = {key: entry.get(key) for key in ("images", "methods", "content")}
    layers = visualised_layers(wildcards.classifier, wildcards.visualisation)
    return canonical(settings | {"layers": layers})
