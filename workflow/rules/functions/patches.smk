# How patches are drawn, and from what.


def sets_of(*sources):
    """Names of the patch sets drawn from these sources."""
    return [name for name, entry in STUDY["patches"].items() if entry["of"] in sources]


def next_kernel(wildcards):
    """Positions of the layer that the next layer looks at, if it looks at more than one; at most the
    whole map."""
    architecture = STUDY["classifiers"][wildcards.classifier]["architecture"]
    layers = preflight.describe(architecture, STUDY["images"]["size"])["layers"]
    here = layers[wildcards.layer]
    if len(here["shape"]) < 3:
        return 1
    later = list(layers)[list(layers).index(wildcards.layer) + 1 :]
    fields = (layers[name]["receptive_field"] for name in later)
    wider = (field - here["receptive_field"] for field in fields if field is not None)
    size = 1 + next((more // here["stride"] for more in wider if more > 0), 0)
    return min(size, *here["shape"][1:])


def patch_settings(wildcards):
    """How patches are drawn, with the size `next` as a number."""
    entry = STUDY["patches"][wildcards.patches]
    settings = entry | {"seed": STUDY["seed"], "held_out": STUDY["images"]["held_out"]}
    if entry["of"] == "features":
        flat = len(layers_before(wildcards)[wildcards.layer]["shape"]) < 3
        if entry["size"] == "next" or flat:
            settings["size"] = next_kernel(wildcards)
    return canonical(settings)
