# Weights from torchvision, from a file, or trained on the spot -> one self-contained file a classifier.


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


rule classifier:
    input:
        weights=weights_file,
        images=exemplar_images,
    output:
        network="results/classifiers/{classifier}.safetensors",
        history="results/classifiers/{classifier}.history.csv",
        accuracy="results/classifiers/{classifier}.accuracy.csv",
    log:
        "logs/classifier/{classifier}.log",
    benchmark:
        "logs/benchmarks/classifier/{classifier}.tsv"
    threads: 8
    resources:
        gpu=GPU,
        mem_mb=4000,
        runtime=120,
    params:
        settings=classifier_settings,
        code=code("classifier.py"),
    message:
        "Preparing the classifier {wildcards.classifier}"
    script:
        "../scripts/classifier.py"
