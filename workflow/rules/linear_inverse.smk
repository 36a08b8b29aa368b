# Linear inverses of the first convolution of a classifier.


rule linear_inverse:
    "Invert the first convolution of a classifier linearly."
    input:
        network="results/classifiers/{classifier}.safetensors",
        train="results/images/train.h5",
        test="results/images/test.h5",
    output:
        arrays="results/linear_inverse/{classifier}.h5",
        errors="results/linear_inverse/{classifier}.csv",
        shapes="results/linear_inverse/{classifier}.shapes.csv",
    log:
        "logs/linear_inverse/{classifier}.log",
    benchmark:
        "logs/benchmarks/linear_inverse/{classifier}.tsv"
    threads: 2
    resources:
        gpu=gpu,
        mem_mb=grows(6000),
        runtime=grows(60),
    params:
        settings=canonical(STUDY["linear_inverse"] | {"seed": STUDY["seed"]}),
        code=code("linear_inverse.py"),
        store=store,
    message:
        "Inverting the first convolution of {wildcards.classifier} linearly"
    script:
        "../scripts/linear_inverse.py"
