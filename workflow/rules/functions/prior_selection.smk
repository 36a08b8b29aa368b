# Which priors are added to which recipe, at which layers.


def with_layers_in_front(classifier):
    """The classifier's layers that priors of other layers can be added for, shallow to deep."""
    layers = STUDY["classifiers"][classifier]["layers"]
    wanted = (Wildcards(fromdict={"classifier": classifier, "layer": layer}) for layer in layers)
    return [here.layer for here in wanted if layers_in_front(here)]


def base_recipe(wildcards):
    """The wildcards of the recipe that priors are added to, at the same layer."""
    here = {key: wildcards[key] for key in ("classifier", "layer")}
    return Wildcards(fromdict=here | {"recipe": STUDY["prior_selection"]["recipe"]})


def added_priors(wildcards):
    """The priors of feature maps that the recipe has, and those to add."""
    path = "results/priors/{classifier}/{layer}/{prior}.safetensors"
    added = expand(
        path,
        classifier=wildcards.classifier,
        layer=layers_in_front(wildcards),
        prior=STUDY["prior_selection"]["prior"],
    )
    return recipe_feature_priors(base_recipe(wildcards)) + added


def base_found(wildcards):
    """What a search has found for that recipe at this layer."""
    here = base_recipe(wildcards)
    return [path.format(**dict(here.items())) for path in recipe_found(here)]


def base_inverter(wildcards):
    """The inverse network that that recipe needs."""
    here = base_recipe(wildcards)
    return [path.format(**dict(here.items())) for path in recipe_inverter(here)]


def base_surrogates(wildcards):
    """What the annealing of that recipe expects of the layer."""
    here = base_recipe(wildcards)
    return [path.format(**dict(here.items())) for path in recipe_surrogates(here)]


def base_statistics(wildcards):
    """The statistics that that recipe's data term is fitted to."""
    here = base_recipe(wildcards)
    return [path.format(**dict(here.items())) for path in recipe_statistics(here)]


def prior_selection_settings(wildcards):
    """The recipe, and which priors are added to it in which way."""
    more = {"prior_selection": STUDY["prior_selection"], "held_out": STUDY["images"]["held_out"]}
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
