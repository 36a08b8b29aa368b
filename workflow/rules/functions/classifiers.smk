# Where a classifier's weights come from, and which of its layers are needed.

from deep_restoration.files.hashing import file_hash
from deep_restoration.networks.names import own_file


def weights_file(wildcards):
    """The file of the weights, where the configuration names one."""
    weights = STUDY["classifiers"][wildcards.classifier]["weights"]
    return str(configuration.folder(weights)) if configuration.is_file(weights) else []


def exemplar_images(wildcards):
    """The training images, where the classifier is trained on them."""
    weights = STUDY["classifiers"][wildcards.classifier]["weights"]
    return "results/images/train.h5" if weights == configuration.EXEMPLAR else []


def classifier_settings(wildcards):
    """A network of the user's own counts with the content of its file. Layers count only for a classifier trained here, and of them only the deepest: weights behind
    it do not exist."""
    entry = STUDY["classifiers"][wildcards.classifier]
    settings = {key: entry[key] for key in ("architecture", "mean", "std", "sha256")}
    settings["size"] = STUDY["images"]["size"]
    if entry["weights"] in (configuration.EXEMPLAR, configuration.MODULE):
        settings["seed"] = STUDY["seed"]
    if path := own_file(entry["architecture"]):
        settings["source"] = file_hash(path)
    if entry["weights"] == configuration.EXEMPLAR:
        known = preflight.describe(entry["architecture"], STUDY["images"]["size"])
        order = list(known["layers"])
        settings["deepest"] = max(entry["layers"], key=order.index)
        settings["exemplar"] = STUDY["exemplar"]
        settings["weights"] = configuration.EXEMPLAR
    elif not configuration.is_file(entry["weights"]):
        settings["weights"] = entry["weights"]
    else:
        settings["weights"] = "file"
    return canonical(settings)


def used_layers(wildcards, threads):
    """Layers whose weights must be there. Not recorded, as `image_folder`: what is stored of a file does not
    depend on them."""
    name = wildcards.classifier
    shown = [layer for entry in STUDY["visualisations"] for layer in visualised_layers(name, entry)]
    return list(dict.fromkeys(STUDY["classifiers"][name]["layers"] + shown))
