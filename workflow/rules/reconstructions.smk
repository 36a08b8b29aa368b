# All test images of a layer restored by one recipe, in one batch.


rule reconstruct:
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/test.h5",
        priors=recipe_priors,
        inverter=recipe_inverter,
    output:
        images="results/reconstructions/{classifier}/{layer}/{recipe}.h5",
        trace="results/reconstructions/{classifier}/{layer}/{recipe}.trace.csv",
    log:
        "logs/reconstruct/{classifier}/{layer}/{recipe}.log",
    benchmark:
        "logs/benchmarks/reconstruct/{classifier}/{layer}/{recipe}.tsv"
    resources:
        gpu=GPU,
        mem_mb=4000,
        runtime=240,
    params:
        settings=recipe_settings,
        code=code("reconstruct.py"),
    message:
        "Restoring images from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe}"
    script:
        "../scripts/reconstruct.py"
