# Denoising as a test of image priors: one weight each, tuned on held-out training images.


rule denoise:
    input:
        prior=denoising_prior,
        train="results/images/train.h5",
        test=denoising_test,
    output:
        table="results/denoising/{prior}.{colour}.csv",
        images="results/denoising/{prior}.{colour}.h5",
    log:
        "logs/denoise/{prior}.{colour}.log",
    benchmark:
        "logs/benchmarks/denoise/{prior}.{colour}.tsv"
    wildcard_constraints:
        prior=names(["tv", *priors_of("images", "grey")]),
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
        "Denoising under {wildcards.prior}"
    script:
        "../scripts/denoise.py"
