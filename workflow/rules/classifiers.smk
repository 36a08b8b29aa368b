# Weights from torchvision, from a file, or trained on the spot -> one self-contained file per classifier.


include: "functions/classifiers.smk"


rule classifier:
    "Store a classifier with its weights: torchvision's, those of a file, or trained on the spot."
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
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(120),
    params:
        settings=classifier_settings,
        used=used_layers,
        code=code("classifier.py"),
        store=store,
    message:
        "Preparing the classifier {wildcards.classifier}"
    script:
        "../scripts/classifier.py"
