# Priors learned from image patches by score matching.


rule train_prior:
    input:
        "results/patches/images.h5",
    output:
        prior="results/priors/{prior}.safetensors",
        history="results/priors/{prior}.history.csv",
    log:
        "logs/train_prior/{prior}.log",
    benchmark:
        "logs/benchmarks/train_prior/{prior}.tsv"
    threads: 4
    resources:
        gpu=GPU,
        mem_mb=3000,
        runtime=120,
    params:
        settings=prior_settings,
        code=code("train_prior.py"),
    message:
        "Training the prior {wildcards.prior}"
    script:
        "../scripts/train_prior.py"
