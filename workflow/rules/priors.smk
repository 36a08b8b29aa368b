# Priors learned from images and from feature maps, and what they find natural.


include: "functions/priors.smk"


rule train_prior:
    "Train a prior of images."
    input:
        maps="results/images/train.h5",
        patches=prior_patches,
    output:
        prior="results/priors/{prior}.safetensors",
        history="results/priors/{prior}.history.csv",
    log:
        "logs/train_prior/{prior}.log",
    benchmark:
        "logs/benchmarks/train_prior/{prior}.tsv"
    wildcard_constraints:
        prior=names(priors_of("images", "grey")),
    threads: 4
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(240),
    params:
        settings=prior_settings,
        code=code("train_prior.py"),
        store=store,
    message:
        "Training the prior {wildcards.prior}"
    script:
        "../scripts/train_prior.py"


rule train_feature_prior:
    "Train a prior of the feature maps of one layer."
    input:
        maps="results/features/{classifier}/{layer}.h5",
        patches=prior_patches,
    output:
        prior="results/priors/{classifier}/{layer}/{prior}.safetensors",
        history="results/priors/{classifier}/{layer}/{prior}.history.csv",
    log:
        "logs/train_feature_prior/{classifier}/{layer}/{prior}.log",
    benchmark:
        "logs/benchmarks/train_feature_prior/{classifier}/{layer}/{prior}.tsv"
    wildcard_constraints:
        prior=names(priors_of("features")),
    threads: 4
    resources:
        gpu=gpu,
        mem_mb=grows(6000),
        runtime=grows(240),
    params:
        settings=prior_settings,
        code=code("train_prior.py"),
        store=store,
    message:
        "Training the prior {wildcards.prior} of {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/train_prior.py"


rule describe_filters:
    "Describe the filters that a prior of images has learned."
    input:
        "results/priors/{prior}.safetensors",
    output:
        "results/priors/{prior}.filters.csv",
    log:
        "logs/describe_filters/{prior}.log",
    benchmark:
        "logs/benchmarks/describe_filters/{prior}.tsv"
    wildcard_constraints:
        prior=names(experts_of("images", "grey")),
    resources:
        mem_mb=grows(1500),
        runtime=grows(20),
    params:
        code=code("filters.py"),
        store=store,
    message:
        "Describing the filters of {wildcards.prior}"
    script:
        "../scripts/filters.py"


rule discrimination:
    "Test whether priors of images tell natural images from others."
    input:
        images="results/images/test.h5",
        priors=expand("results/priors/{prior}.safetensors", prior=priors_of("images", "grey")),
        reconstructed=every_layer(
            "results/reconstructions/{classifier}/{layer}/{recipe}.h5", recipe=STUDY["recipes"]
        ),
    output:
        "results/discrimination/images.csv",
    log:
        "logs/discrimination/images.log",
    benchmark:
        "logs/benchmarks/discrimination/images.tsv"
    threads: 2
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings={"seed": STUDY["seed"]},
        names={
            "priors": priors_of("images", "grey"),
            "sets": every_layer("{recipe} of {classifier} {layer}", recipe=STUDY["recipes"]),
        },
        code=code("discrimination.py"),
        store=store,
    message:
        "Asking image priors what is natural"
    script:
        "../scripts/discrimination.py"


rule discrimination_of_maps:
    "Test whether priors of feature maps tell natural maps from others, at one layer."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/test.h5",
        priors=expand(
            "results/priors/{{classifier}}/{{layer}}/{prior}.safetensors",
            prior=priors_of("features"),
        ),
        reconstructed=recipes_of("results/reconstructions/{classifier}/{layer}/{recipe}.h5"),
    output:
        "results/discrimination/{classifier}/{layer}.csv",
    log:
        "logs/discrimination/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/discrimination/{classifier}/{layer}.tsv"
    threads: 2
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings={"seed": STUDY["seed"]},
        names={"priors": priors_of("features"), "sets": list(STUDY["recipes"])},
        code=code("discrimination.py"),
        store=store,
    message:
        "Asking priors of {wildcards.classifier} {wildcards.layer} what is natural"
    script:
        "../scripts/discrimination.py"


rule prior_tables:
    "Gather the tables of learned priors: training, denoising, discrimination."
    input:
        filters=expand("results/priors/{prior}.filters.csv", prior=experts_of("images", "grey")),
        histories=[f"{path}.history.csv" for path in prior_paths()],
        # A function, because denoising.smk, which names the files, is included later.
        denoised=lambda wildcards: denoised("csv", "images") + denoised("csv", "grey"),
        discrimination=discrimination_tables(),
    output:
        priors=report(
            "results/tables/priors.csv", caption="../report/priors_table.rst", category="Tables"
        ),
        denoising=report(
            "results/tables/denoising.csv",
            caption="../report/denoising_table.rst",
            category="Tables",
        ),
        discrimination=report(
            "results/tables/discrimination.csv",
            caption="../report/discrimination_table.rst",
            category="Tables",
        ),
    log:
        "logs/prior_tables.log",
    benchmark:
        "logs/benchmarks/prior_tables.tsv"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        settings={"seed": STUDY["seed"]},
        names={
            "experts": experts_of("images", "grey"),
            "priors": [
                [Path(path).name, " ".join(Path(path).parts[2:-1]) or "image"]
                for path in prior_paths()
            ],
        },
        code=code("prior_tables.py"),
    message:
        "Gathering the tables of learned priors"
    script:
        "../scripts/prior_tables.py"
