# What rules ask for: their slice of the configuration, their input files, the figures of the report.


def image_settings(wildcards):
    """The source of one split, its content, and how it is cropped."""
    images, split = STUDY["images"], wildcards.split
    found = image_inventory(split)
    settings = {"split": split, "size": images["size"], "seed": STUDY["seed"]}
    if found is None:
        count = images[f"embedded_{split}"]
        if split == "test" and images["test_count"]:
            count = min(count, images["test_count"])
        return settings | {"source": "embedded", "count": count}
    return settings | {
        "source": "folder",
        "content": inventory.digest(found),
        "count": len(found),
        "unusable": images["unusable"],
    }


def image_folder(wildcards, threads):
    """Where the files lie. Snakemake does not record params that depend on threads, so that a folder
    that was moved with its images reruns nothing."""
    source = STUDY["images"][wildcards.split]
    return "" if source == "embedded" else str(configuration.folder(source))


def weights_file(wildcards):
    weights = STUDY["classifiers"][wildcards.classifier]["weights"]
    return str(configuration.folder(weights)) if configuration.is_file(weights) else []


def exemplar_images(wildcards):
    weights = STUDY["classifiers"][wildcards.classifier]["weights"]
    return "results/images/train.h5" if weights == configuration.EXEMPLAR else []


def classifier_settings(wildcards):
    """Layers count only for a classifier trained here, and of them only the deepest: weights behind
    it do not exist."""
    entry = STUDY["classifiers"][wildcards.classifier]
    settings = {key: entry[key] for key in ("architecture", "mean", "std", "sha256")}
    if entry["weights"] == configuration.EXEMPLAR:
        known = configuration.describe(entry["architecture"], STUDY["images"]["size"], CACHE)
        order = list(known["layers"])
        settings["deepest"] = max(entry["layers"], key=order.index)
        settings["exemplar"] = STUDY["exemplar"]
        settings["seed"] = STUDY["seed"]
        settings["weights"] = configuration.EXEMPLAR
    elif not configuration.is_file(entry["weights"]):
        settings["weights"] = entry["weights"]
    else:
        settings["weights"] = "file"
    return canonical(settings)


def layers_before(wildcards):
    """Shape, stride, receptive field of every layer up to the wildcard's. Found out when the
    configuration was checked: a job would need seconds for it."""
    architecture = STUDY["classifiers"][wildcards.classifier]["architecture"]
    layers = configuration.describe(architecture, STUDY["images"]["size"], CACHE)["layers"]
    last = list(layers).index(wildcards.layer)
    return dict(list(layers.items())[: last + 1])


def sight(wildcards):
    """Stride and receptive field of the wildcard's layer."""
    layer = layers_before(wildcards)[wildcards.layer]
    return {key: layer[key] for key in ("receptive_field", "stride")}


def prior_settings(wildcards):
    return canonical(STUDY["priors"][wildcards.prior] | {"seed": STUDY["seed"]})


def inverter_settings(wildcards):
    return canonical(STUDY["inverters"][wildcards.inverter] | {"seed": STUDY["seed"]})


def recipe_priors(wildcards):
    """Files of the learned priors that the recipe uses."""
    used = STUDY["recipes"][wildcards.recipe].get("priors") or {}
    return expand(
        "results/priors/{prior}.safetensors", prior=[p for p in used if p in STUDY["priors"]]
    )


def recipe_inverter(wildcards):
    inverter = STUDY["recipes"][wildcards.recipe].get("inverter")
    path = "results/inverters/{classifier}/{layer}/{inverter}.safetensors"
    return expand(path, inverter=inverter, allow_missing=True) if inverter else []


def recipe_settings(wildcards):
    recipe = STUDY["recipes"][wildcards.recipe]
    return canonical({"recipe": recipe, "sees": sight(wildcards), "seed": STUDY["seed"]})


def drawn(path, caption, **labels):
    """A PNG that `snakemake --report` shows, too."""
    category = REPORT_SECTIONS[caption]
    return report(path, caption=f"../report/{caption}.rst", category=category, labels=labels)


# Captions are files of workflow/report; each belongs to a section of the report.
REPORT_SECTIONS = {
    "overview": "Results",
    "measures": "Results",
    "gallery": "Reconstructions",
    "errors": "Reconstructions",
    "traces": "Reconstructions",
    "classifier": "Classifiers",
    "inverters": "Inverse networks",
    "prior": "Learned priors",
    "statistics": "Feature maps",
    "stationarity": "Feature maps",
    "sparsity": "Feature maps",
    "patches": "Feature maps",
    "linear_inverse": "Linear inverses",
    "linear_restorations": "Linear inverses",
    "workflow": "Workflow",
}


def figure_entries():
    """What the report shows, in its order: path, caption, section and wildcards of every figure."""
    found = []

    def add(caption, path, **wildcards):
        path = f"results/figures/{path}.png".format(**wildcards)
        entry = {"path": path, "caption": caption, "section": REPORT_SECTIONS[caption]}
        found.append(entry | {"wildcards": wildcards})

    for name, entry in STUDY["classifiers"].items():
        add("overview", "{classifier}/overview", classifier=name)
        add("measures", "{classifier}/measures", classifier=name)
        for layer in entry["layers"]:
            for kind in ("gallery", "errors", "traces"):
                add(kind, f"{{classifier}}/{{layer}}/{kind}", classifier=name, layer=layer)
        add("classifier", "{classifier}/classifier", classifier=name)
        if STUDY["inverters"]:
            add("inverters", "{classifier}/inverters", classifier=name)
        for layer in entry["layers"]:
            add("statistics", "{classifier}/{layer}/statistics", classifier=name, layer=layer)
        for kind in ("stationarity", "sparsity", "patches"):
            add(kind, f"{{classifier}}/{kind}", classifier=name)
        for kind in ("linear_inverse", "linear_restorations"):
            add(kind, f"{{classifier}}/{kind}", classifier=name)
    for name in STUDY["priors"]:
        add("prior", "priors/{prior}", prior=name)
    add("workflow", "workflow")
    order = list(dict.fromkeys(REPORT_SECTIONS.values()))
    return sorted(found, key=lambda entry: order.index(entry["section"]))


def all_figures():
    return [entry["path"] for entry in figure_entries()]


def patch_files(wildcards):
    layers = (
        STUDY["classifiers"][wildcards.classifier]["layers"]
        if STUDY["patches"]["features"]["size"]
        else []
    )
    return [
        "results/patches/images.h5",
        *expand("results/patches/{classifier}/{layer}.h5", layer=layers, allow_missing=True),
    ]
