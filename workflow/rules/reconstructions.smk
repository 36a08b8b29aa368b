# All test images of a layer restored by one recipe, in one batch.


def recipe_priors(wildcards):
    """Files of the learned priors that the recipe uses."""
    used = STUDY["recipes"][wildcards.recipe].get("priors") or {}
    return expand("results/priors/{prior}.safetensors", prior=[p for p in used if p in STUDY["priors"]])


def recipe_inverter(wildcards):
    inverter = STUDY["recipes"][wildcards.recipe].get("inverter")
    path = "results/inverters/{classifier}/{layer}/{inverter}.safetensors"
    return expand(path, inverter=inverter, allow_missing=True) if inverter else []


def recipe_settings(wildcards):
    return canonical({"recipe": STUDY["recipes"][wildcards.recipe], "seed": STUDY["seed"]})


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
