# Patches, sampled uniformly over all positions, and their covariance -> HDF5.


include: "functions/patches.smk"


rule image_patches:
    "Sample patches of training images."
    input:
        "results/images/train.h5",
    output:
        "results/patches/{patches}.h5",
    log:
        "logs/patches/{patches}.log",
    benchmark:
        "logs/benchmarks/patches/{patches}.tsv"
    wildcard_constraints:
        patches=names(sets_of("images", "grey")),
    threads: 2
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        settings=patch_settings,
        code=code("patches.py"),
        store=store,
    message:
        "Sampling the patches {wildcards.patches}"
    script:
        "../scripts/patches.py"


rule feature_patches:
    "Sample patches of the feature maps of one layer."
    input:
        "results/features/{classifier}/{layer}.h5",
    output:
        "results/patches/{patches}/{classifier}/{layer}.h5",
    log:
        "logs/patches/{patches}/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/patches/{patches}/{classifier}/{layer}.tsv"
    wildcard_constraints:
        patches=names(sets_of("features")),
    threads: 2
    resources:
        mem_mb=grows(6000),
        runtime=grows(60),
    params:
        settings=patch_settings,
        code=code("patches.py"),
        store=store,
    message:
        "Sampling the patches {wildcards.patches} of {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/patches.py"
