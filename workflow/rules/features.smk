# Feature maps of training images -> HDF5, one file per layer.


rule features:
    "Compute the feature maps that training images have at one layer."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/train.h5",
    output:
        "results/features/{classifier}/{layer}.h5",
    log:
        "logs/features/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/features/{classifier}/{layer}.tsv"
    threads: 2
    resources:
        gpu=gpu,
        mem_mb=grows(3000),
        runtime=grows(60),
    params:
        settings=STUDY["features"] | {"held_out": STUDY["images"]["held_out"]},
        code=code("features.py"),
        store=store,
    message:
        "Computing feature maps of {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/features.py"
