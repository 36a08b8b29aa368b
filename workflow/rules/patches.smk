# Patches, sampled uniformly over all positions, and their whitening -> HDF5.


rule image_patches:
    input:
        "results/images/train.h5",
    output:
        "results/patches/images.h5",
    log:
        "logs/patches/images.log",
    benchmark:
        "logs/benchmarks/patches/images.tsv"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        settings=canonical(STUDY["patches"]["images"] | {"seed": STUDY["seed"]}),
        code=code("patches.py"),
    message:
        "Sampling image patches"
    script:
        "../scripts/patches.py"


rule feature_patches:
    input:
        "results/features/{classifier}/{layer}.h5",
    output:
        "results/patches/{classifier}/{layer}.h5",
    log:
        "logs/patches/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/patches/{classifier}/{layer}.tsv"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=canonical(STUDY["patches"]["features"] | {"seed": STUDY["seed"]}),
        code=code("patches.py"),
    message:
        "Sampling patches of feature maps of {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/patches.py"
