# Inverse networks: a chain of modules from one layer back to the image.


rule train_inverter:
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/train.h5",
    output:
        inverter="results/inverters/{classifier}/{layer}/{inverter}.safetensors",
        history="results/inverters/{classifier}/{layer}/{inverter}.history.csv",
    log:
        "logs/train_inverter/{classifier}/{layer}/{inverter}.log",
    benchmark:
        "logs/benchmarks/train_inverter/{classifier}/{layer}/{inverter}.tsv"
    threads: 4
    resources:
        gpu=GPU,
        mem_mb=4000,
        runtime=720,
    params:
        settings=inverter_settings,
        layers=layers_before,
        code=code("train_inverter.py"),
    message:
        "Training the inverter {wildcards.inverter} for {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/train_inverter.py"
