# What the papers' figures are compared with.

PUBLISHED = [
    str(RESOURCES / "published" / f"{name}.csv")
    for name in ("mahendran2015", "harder2017", "dosovitskiy2016")
]


def paper_settings(wildcards):
    """`output` is the layer that tells the label, where the study goes so deep with real weights: the stored
    network ends at the deepest layer of the study."""
    entry, output = STUDY["classifiers"][wildcards.classifier], None
    if entry["weights"] != configuration.EXEMPLAR:
        known = preflight.describe(entry["architecture"], STUDY["images"]["size"])
        last = list(known["layers"])[-1] if not known["stop"] else None
        output = last if last in entry["layers"] else None
    return canonical({"recipes": list(STUDY["recipes"]), "output": output})


def weights_kind(classifier):
    """exemplar, file, or a name of torchvision's weights."""
    weights = STUDY["classifiers"][classifier]["weights"]
    return "file" if configuration.is_file(weights) else weights


def published_settings():
    """What the classifiers are: the papers' figures hold for AlexNet with real weights."""
    classifiers = {
        name: {"architecture": entry["architecture"], "weights": weights_kind(name)}
        for name, entry in STUDY["classifiers"].items()
    }
    return {"classifiers": canonical(classifiers), "size": STUDY["images"]["size"]}
