# Test images reconstructed from one layer by one recipe, after a search for weights and rates if it has bounds.


include: "functions/reconstructions.smk"


rule fit_surrogates:
    "Fit what maps of one layer an annealing expects of denoised images, per noise level."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/train.h5",
        prior=annealing_prior,
    output:
        "results/surrogates/{classifier}/{layer}/{recipe}.safetensors",
    log:
        "logs/surrogates/{classifier}/{layer}/{recipe}.log",
    benchmark:
        "logs/benchmarks/surrogates/{classifier}/{layer}/{recipe}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=surrogate_settings,
        code=code("fit_surrogates.py"),
        store=store,
    message:
        "Fitting what {wildcards.recipe} expects of {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/fit_surrogates.py"


rule learn_shrinkage:
    "Learn how much of an annealed image to believe at each frequency, on held-out training images."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/train.h5",
        priors=annealing_priors,
        inverter=recipe_inverter,
        feature_priors=annealing_feature_priors,
        surrogates=unshrunk_surrogates,
    output:
        "results/shrinkage/{classifier}/{layer}/{recipe}.safetensors",
    log:
        "logs/learn_shrinkage/{classifier}/{layer}/{recipe}.log",
    benchmark:
        "logs/benchmarks/learn_shrinkage/{classifier}/{layer}/{recipe}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=shrinkage_settings,
        code=code("learn_shrinkage.py"),
        store=store,
    message:
        "Learning how much of {wildcards.recipe} to believe at {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/learn_shrinkage.py"


rule search:
    "Search the weights and rates of a recipe at one layer, on held-out training images."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/train.h5",
        priors=recipe_priors,
        feature_priors=recipe_feature_priors,
        inverter=recipe_inverter,
        surrogates=recipe_surrogates,
        statistics=recipe_statistics,
    output:
        found="results/search/{classifier}/{layer}/{recipe}.json",
        trials="results/search/{classifier}/{layer}/{recipe}.csv",
    log:
        "logs/search/{classifier}/{layer}/{recipe}.log",
    benchmark:
        "logs/benchmarks/search/{classifier}/{layer}/{recipe}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(720),
    params:
        settings=search_settings,
        code=code("search.py"),
        store=store,
    message:
        "Searching weights of {wildcards.recipe} for {wildcards.classifier} {wildcards.layer}"
    script:
        "../scripts/search.py"


rule reconstruct:
    "Reconstruct the test images from one layer by one recipe."
    input:
        network="results/classifiers/{classifier}.safetensors",
        images="results/images/test.h5",
        priors=recipe_priors,
        feature_priors=recipe_feature_priors,
        inverter=recipe_inverter,
        surrogates=recipe_surrogates,
        statistics=recipe_statistics,
        found=recipe_found,
    output:
        images="results/reconstructions/{classifier}/{layer}/{recipe}.h5",
        trace="results/reconstructions/{classifier}/{layer}/{recipe}.trace.csv",
    log:
        "logs/reconstruct/{classifier}/{layer}/{recipe}.log",
    benchmark:
        "logs/benchmarks/reconstruct/{classifier}/{layer}/{recipe}.tsv"
    resources:
        gpu=gpu,
        mem_mb=grows(4000),
        runtime=grows(240),
    params:
        settings=reconstruction_settings,
        code=code("reconstruct.py"),
        store=store,
    message:
        "Reconstructing images from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe}"
    script:
        "../scripts/reconstruct.py"


rule write_pictures:
    "Write the images reconstructed from every layer by every recipe as PNG files."
    input:
        layers_of(
            "results/reconstructions/{classifier}/{layer}/{recipe}.h5", recipe=STUDY["recipes"]
        ),
    output:
        directory("results/pictures/{classifier}"),
    log:
        "logs/write_pictures/{classifier}.log",
    benchmark:
        "logs/benchmarks/write_pictures/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(60),
    params:
        code=code("write_pictures.py"),
    message:
        "Writing the images reconstructed from {wildcards.classifier} as PNG files"
    script:
        "../scripts/write_pictures.py"
