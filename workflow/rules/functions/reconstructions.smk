# What a recipe needs: priors, an inverse network, what a search has found, its settings.


def used_priors(recipe):
    """Files of the learned priors of images that a recipe uses."""
    learned = [name for name in registry.named_priors(recipe) if name in priors_of("images")]
    return expand("results/priors/{prior}.safetensors", prior=learned)


def layers_in_front(wildcards):
    """The study's layers in front of the wildcard's, shallow to deep."""
    before = [name for name in layers_before(wildcards) if name != wildcards.layer]
    known = [x for x in STUDY["classifiers"][wildcards.classifier]["layers"] if x in before]
    return sorted(known, key=before.index)


def used_feature_priors(recipe, wildcards):
    """Files of the priors of feature maps that a recipe uses, for layers in front of the wildcard's, shallow
    to deep."""
    known, used = layers_in_front(wildcards), {}
    for name, entry in registry.prior_entries(recipe):
        if name in priors_of("features"):
            used.setdefault(name, set()).update(feature_layers.acted_on(entry, known))
    path = "results/priors/{classifier}/{layer}/{prior}.safetensors"
    return [
        path.format(classifier=wildcards.classifier, layer=layer, prior=name)
        for name, layers in used.items()
        for layer in known
        if layer in layers
    ]


def recipe_priors(wildcards):
    """Files of the learned priors of images that the recipe uses."""
    return used_priors(STUDY["recipes"][wildcards.recipe])


def recipe_feature_priors(wildcards):
    """Files of the priors of feature maps that the recipe uses."""
    return used_feature_priors(STUDY["recipes"][wildcards.recipe], wildcards)


def recipe_inverter(wildcards):
    """The first replicate of the inverse network that the recipe uses, if it does."""
    inverter = STUDY["recipes"][wildcards.recipe].get("inverter")
    path = "results/inverters/{classifier}/{layer}/{inverter}/0.safetensors"
    return expand(path, inverter=inverter, allow_missing=True) if inverter else []


def recipe_surrogates(wildcards):
    """What the recipe's annealing expects of the layer, if it has one, and how much of its image to believe, if
    that is learned. Recipes that expect the same share the file of the first of them."""
    annealed = STUDY["recipes"][wildcards.recipe].get("anneal")
    if not annealed:
        return []
    first = registry.expecting(STUDY["recipes"], wildcards.recipe)
    path = "results/surrogates/{classifier}/{layer}/{recipe}.safetensors"
    own = "results/shrinkage/{classifier}/{layer}/{recipe}.safetensors"
    return expand(path, recipe=first, allow_missing=True) + [own] * bool(annealed["shrink"])


def unshrunk_surrogates(wildcards):
    """The first of these, before it is known how much to believe."""
    return recipe_surrogates(wildcards)[:1]


def annealing_prior(wildcards):
    """The file of the prior that the recipe's annealing asks."""
    return f"results/priors/{STUDY['recipes'][wildcards.recipe]['anneal']['prior']}.safetensors"


def surrogate_settings(wildcards):
    """The annealing of a recipe, and from what its surrogates are fitted."""
    anneal = STUDY["recipes"][wildcards.recipe]["anneal"]
    anneal = {key: anneal[key] for key in registry.EXPECTED}
    more = {"held_out": STUDY["images"]["held_out"], "seed": STUDY["seed"]}
    return canonical({"anneal": anneal} | more)


def recipe_statistics(wildcards):
    """Statistics of the layer's maps, if the recipe's data term is fitted to them."""
    fitted = STUDY["recipes"][wildcards.recipe].get("data") in registry.FITTED
    return ["results/statistics/{classifier}/{layer}.h5"] if fitted else []


def recipe_found(wildcards):
    """What a search has found for the recipe at this layer."""
    searched = STUDY["recipes"][wildcards.recipe].get("search")
    return ["results/search/{classifier}/{layer}/{recipe}.json"] if searched else []


def recipe_settings(wildcards):
    """Ranges to search count for the search alone."""
    recipe = {k: v for k, v in STUDY["recipes"][wildcards.recipe].items() if k != "search"}
    return canonical({"recipe": recipe, "sees": sight(wildcards), "seed": STUDY["seed"]})


def reconstruction_settings(wildcards):
    """The same, and how many images are reconstructed together."""
    return canonical(recipe_settings(wildcards) | {"batch": STUDY["batch"]})


def shrinkage_settings(wildcards):
    """The annealing of a recipe, without the optimisation after it, and what is held out."""
    more = {"held_out": STUDY["images"]["held_out"], "recipe": annealed_alone(wildcards)}
    return canonical(recipe_settings(wildcards) | more)


def annealed_alone(wildcards):
    """The recipe without the optimisation after its annealing."""
    recipe = STUDY["recipes"][wildcards.recipe]
    return {key: recipe[key] for key in ("anneal", "inverter", "extrapolate") if recipe.get(key)}


def annealing_priors(wildcards):
    """Files of the learned priors of images that it uses."""
    return used_priors(annealed_alone(wildcards))


def annealing_feature_priors(wildcards):
    """Files of the priors of feature maps that it uses."""
    return used_feature_priors(annealed_alone(wildcards), wildcards)


def search_settings(wildcards):
    """The recipe with its ranges, and how they are searched."""
    recipe = STUDY["recipes"][wildcards.recipe]
    more = {"search": STUDY["search"], "held_out": STUDY["images"]["held_out"]}
    return canonical(recipe_settings(wildcards) | {"recipe": recipe} | more)
