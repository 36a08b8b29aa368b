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
