# Inverse networks: chains of modules from one layer back to the image, each trained from several starts.


include: "functions/inverters.smk"


rule train_inverter:
    "Train an inverse network that leads from one layer back to the image."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/train.h5",
    output:
        inverter="results/inverters/{classifier}/{layer}/{inverter}/{replicate}.safetensors",
        history="results/inverters/{classifier}/{layer}/{inverter}/{replicate}.history.csv",
    log:
        "logs/train_inverter/{classifier}/{layer}/{inverter}/{replicate}.log",
    benchmark:
        "logs/benchmarks/train_inverter/{classifier}/{layer}/{inverter}/{replicate}.tsv"
    threads: 4
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(720),
    params:
        settings=inverter_settings,
        layers=layers_before,
        code=code("train_inverter.py"),
        store=store,
    message:
        "Training the inverter {wildcards.inverter} {wildcards.replicate} for {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/train_inverter.py"


rule evaluate_inverters:
    "Reconstruct the test images by all inverse networks of one layer, and measure them."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/test.h5",
        train="results/images/train.h5",
        inverters=layer_inverters("safetensors"),
    output:
        table="results/inversions/{classifier}/{layer}.csv",
        images="results/inversions/{classifier}/{layer}.h5",
    log:
        "logs/evaluate_inverters/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/evaluate_inverters/{classifier}/{layer}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(3000),
        runtime=grows(60),
    params:
        settings=inversion_settings(),
        code=code("evaluate_inverters.py"),
        store=store,
    message:
        "Reconstructing images from {wildcards.classifier} {wildcards.layer} by its inverse networks"
    script:
        "../scripts/evaluate_inverters.py"


rule inverter_tables:
    "Gather the tables of the inverse networks."
    input:
        every_layer("results/inversions/{classifier}/{layer}.csv") if STUDY["inverters"] else [],
    output:
        images=report(
            "results/tables/inversions.csv",
            caption="../report/inversions_table.rst",
            category="Tables",
        ),
        summary=report(
            "results/tables/inverters.csv",
            caption="../report/inverters_table.rst",
            category="Tables",
        ),
    log:
        "logs/inverter_tables.log",
    benchmark:
        "logs/benchmarks/inverter_tables.tsv"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        settings={"seed": STUDY["seed"]},
        code=code("inverter_tables.py"),
    message:
        "Gathering the tables of the inverse networks"
    script:
        "../scripts/inverter_tables.py"
