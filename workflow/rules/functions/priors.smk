# Which priors are learned from what, and how.


def priors_of(*sources):
    """Names of the learned priors of these sources."""
    return [p for p in STUDY["priors"] if configuration.source_of(STUDY, p) in sources]


def experts_of(*sources):
    """Of these, the ones that have filters."""
    return [p for p in priors_of(*sources) if "expert" in STUDY["priors"][p]]


def prior_patches(wildcards):
    """The patches that the prior learns from or takes its whitening from; networks have none."""
    entry = STUDY["priors"][wildcards.prior]
    if "patches" not in entry:
        return []
    path = f"results/patches/{entry['patches']}"
    if "classifier" in wildcards.keys():
        path = f"{path}/{wildcards.classifier}/{wildcards.layer}"
    return [f"{path}.h5"]


def prior_settings(wildcards):
    """How a prior is trained, and whether on images, grey images or feature maps."""
    more = {"seed": STUDY["seed"], "held_out": STUDY["images"]["held_out"]}
    more["of"] = configuration.source_of(STUDY, wildcards.prior)
    return canonical(STUDY["priors"][wildcards.prior] | more)


def prior_paths():
    """Every learned prior without its suffix: of images, then of the maps of each layer."""
    features = every_layer(
        "results/priors/{classifier}/{layer}/{prior}", prior=priors_of("features")
    )
    return [f"results/priors/{name}" for name in priors_of("images", "grey")] + features


def discrimination_tables():
    """A table for the priors of images, and one per layer for those of feature maps, where there are any."""
    images = ["results/discrimination/images.csv"] if priors_of("images", "grey") else []
    features = every_layer("results/discrimination/{classifier}/{layer}.csv")
    return images + (features if priors_of("features") else [])
