# Denoising as a test of image priors: one weight each, tuned on held-out training images.


include: "functions/denoising.smk"


rule denoise:
    "Denoise images under one prior."
    input:
        prior=denoising_prior,
        train="results/images/train.h5",
        test=denoising_test,
    output:
        table="results/denoising/{prior}.{estimator}.{colour}.csv",
        images="results/denoising/{prior}.{estimator}.{colour}.h5",
    log:
        "logs/denoise/{prior}.{estimator}.{colour}.log",
    benchmark:
        "logs/benchmarks/denoise/{prior}.{estimator}.{colour}.tsv"
    wildcard_constraints:
        prior=names(["tv", *priors_of("images", "grey")]),
        estimator="map|mean",
    threads: 4
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(240),
    params:
        settings=denoising_settings,
        files=denoising_files(),
        folder=denoising_folder,
        hashes=str(IMAGE_HASHES),
        code=code("denoise.py"),
        store=store,
    message:
        "Denoising under {wildcards.prior} ({wildcards.estimator})"
    script:
        "../scripts/denoise.py"


rule denoising_levels:
    "Measure how well a denoiser denoises at each noise level."
    input:
        prior="results/priors/{prior}.safetensors",
        train="results/images/train.h5",
    output:
        "results/denoising/levels/{prior}.csv",
    log:
        "logs/denoising_levels/{prior}.log",
    benchmark:
        "logs/benchmarks/denoising_levels/{prior}.tsv"
    wildcard_constraints:
        prior=names(denoisers()),
    threads: 4
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=levels_settings,
        code=code("denoising_levels.py"),
        store=store,
    message:
        "Denoising by {wildcards.prior} at each noise level"
    script:
        "../scripts/denoising_levels.py"


rule denoising_levels_table:
    "Gather how well denoisers denoise at each noise level."
    input:
        expand("results/denoising/levels/{prior}.csv", prior=denoisers()),
    output:
        report(
            "results/tables/denoising_levels.csv",
            caption="../report/denoising_levels_table.rst",
            category="Tables",
        ),
    log:
        "logs/denoising_levels_table.log",
    benchmark:
        "logs/benchmarks/denoising_levels_table.tsv"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code("denoising_levels_table.py"),
    message:
        "Gathering how well denoisers denoise"
    script:
        "../scripts/denoising_levels_table.py"


rule denoising_agreement:
    "Measure whether denoisers of halves of the training photographs agree."
    input:
        priors=expand("results/priors/{prior}.safetensors", prior=agreement_priors()),
        train="results/images/train.h5",
    output:
        report(
            "results/tables/denoising_agreement.csv",
            caption="../report/denoising_agreement.rst",
            category="Tables",
        ),
    log:
        "logs/denoising_agreement.log",
    benchmark:
        "logs/benchmarks/denoising_agreement.tsv"
    threads: 4
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=agreement_settings,
        code=code("denoising_agreement.py"),
        store=store,
    message:
        "Comparing denoisers of halves of the photographs"
    script:
        "../scripts/denoising_agreement.py"
