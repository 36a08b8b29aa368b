# Covariances, Gram matrices, sparsity and stationarity of feature maps.


rule feature_statistics:
    "Measure covariances, Gram matrices, sparsity and stationarity of the feature maps of one layer."
    input:
        features="results/features/{classifier}/{layer}.h5",
    output:
        arrays="results/statistics/{classifier}/{layer}.h5",
        table="results/statistics/{classifier}/{layer}.csv",
        stationarity="results/statistics/{classifier}/{layer}.stationarity.csv",
    log:
        "logs/statistics/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/statistics/{classifier}/{layer}.tsv"
    threads: 2
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=canonical(STUDY["statistics"] | {"seed": STUDY["seed"]}),
        code=code("statistics.py"),
        store=store,
    message:
        "Measuring the feature maps of {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/statistics.py"
