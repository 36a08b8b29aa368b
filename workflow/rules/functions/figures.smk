# What figures of several stages are drawn from.


def prior_filters(wildcards):
    """The description of the prior's filters, if it has any."""
    path = f"results/priors/{wildcards.prior}.filters.csv"
    return [path] if wildcards.prior in experts_of("images", "grey") else []


def patch_files(wildcards):
    """Patches of images, and of the wildcard's classifier."""
    layers = STUDY["classifiers"][wildcards.classifier]["layers"]
    path = "results/patches/{patches}/{classifier}/{layer}.h5"
    return [
        *expand("results/patches/{patches}.h5", patches=sets_of("images", "grey")),
        *expand(path, patches=sets_of("features"), layer=layers, allow_missing=True),
    ]


def detail_settings():
    """Which recipes and how many images are shown in detail, and how large a detail is."""
    details = STUDY["figures"]["details"]
    shown = {key: details[key] for key in ("recipes", "side")}
    return canonical(shown | {"images": STUDY["figures"]["images"]})
