# Figures: one script each, drawn from files of numbers, so that a new colour retrains nothing.


include: "functions/figures.smk"


rule plot_classifier:
    "Draw the filters of a classifier's first layer, and its training."
    input:
        network="results/classifiers/{classifier}.safetensors",
        history="results/classifiers/{classifier}.history.csv",
        accuracy="results/classifiers/{classifier}.accuracy.csv",
    output:
        png=drawn(
            "results/figures/{classifier}/classifier.png", "classifier", classifier="{classifier}"
        ),
        svg="results/figures/{classifier}/classifier.svg",
    log:
        "logs/plot_classifier/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_classifier/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        code=code("plot_classifier.py"),
    script:
        "../scripts/plot_classifier.py"


rule plot_statistics:
    "Draw the statistics of the feature maps of one layer."
    input:
        "results/statistics/{classifier}/{layer}.h5",
    output:
        png=drawn(
            "results/figures/{classifier}/{layer}/statistics.png",
            "statistics",
            classifier="{classifier}",
            layer="{layer}",
        ),
        svg="results/figures/{classifier}/{layer}/statistics.svg",
    log:
        "logs/plot_statistics/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/plot_statistics/{classifier}/{layer}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        code=code("plot_statistics.py"),
    script:
        "../scripts/plot_statistics.py"


rule plot_layers:
    "Draw how far from stationary, and how sparse, the feature maps of each layer are."
    input:
        arrays=layers_of("results/statistics/{classifier}/{layer}.h5"),
        curves=layers_of("results/statistics/{classifier}/{layer}.stationarity.csv"),
    output:
        stationarity=drawn(
            "results/figures/{classifier}/stationarity.png",
            "stationarity",
            classifier="{classifier}",
        ),
        stationarity_svg="results/figures/{classifier}/stationarity.svg",
        sparsity=drawn(
            "results/figures/{classifier}/sparsity.png", "sparsity", classifier="{classifier}"
        ),
        sparsity_svg="results/figures/{classifier}/sparsity.svg",
    log:
        "logs/plot_layers/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_layers/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        code=code("plot_layers.py"),
    script:
        "../scripts/plot_layers.py"


rule plot_linear_inverse:
    "Draw the kernels of the linear inverses, and the images they reconstruct."
    input:
        arrays="results/linear_inverse/{classifier}.h5",
        errors="results/linear_inverse/{classifier}.csv",
    output:
        kernels=drawn(
            "results/figures/{classifier}/linear_inverse.png",
            "linear_inverse",
            classifier="{classifier}",
        ),
        kernels_svg="results/figures/{classifier}/linear_inverse.svg",
        images=drawn(
            "results/figures/{classifier}/linear_reconstructions.png",
            "linear_reconstructions",
            classifier="{classifier}",
        ),
        images_svg="results/figures/{classifier}/linear_reconstructions.svg",
    log:
        "logs/plot_linear_inverse/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_linear_inverse/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        code=code("plot_linear_inverse.py"),
    script:
        "../scripts/plot_linear_inverse.py"


rule plot_patches:
    "Draw the eigenvalues of the covariance of patches."
    input:
        patch_files,
    output:
        png=drawn("results/figures/{classifier}/patches.png", "patches", classifier="{classifier}"),
        svg="results/figures/{classifier}/patches.svg",
    log:
        "logs/plot_patches/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_patches/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        code=code("plot_patches.py"),
    script:
        "../scripts/plot_patches.py"


rule plot_prior:
    "Draw the filters of a prior, and its training."
    input:
        prior="results/priors/{prior}.safetensors",
        history="results/priors/{prior}.history.csv",
        filters=prior_filters,
    output:
        png=drawn("results/figures/priors/{prior}.png", "prior", prior="{prior}"),
        svg="results/figures/priors/{prior}.svg",
    log:
        "logs/plot_prior/{prior}.log",
    benchmark:
        "logs/benchmarks/plot_prior/{prior}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        method=lambda wildcards: STUDY["priors"][wildcards.prior]["method"],
        code=code("plot_prior.py"),
    script:
        "../scripts/plot_prior.py"


rule plot_denoising:
    "Draw images denoised under each prior."
    input:
        tables=lambda wildcards: denoised("csv", wildcards.colour),
        images=lambda wildcards: denoised("h5", wildcards.colour),
    output:
        png=drawn("results/figures/denoising/{colour}.png", "denoising", colour="{colour}"),
        svg="results/figures/denoising/{colour}.svg",
    log:
        "logs/plot_denoising/{colour}.log",
    benchmark:
        "logs/benchmarks/plot_denoising/{colour}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        sigma=STUDY["denoising"]["sigma"],
        code=code("plot_denoising.py"),
    script:
        "../scripts/plot_denoising.py"


rule plot_discrimination:
    "Draw how well priors of images tell natural images from others."
    input:
        "results/discrimination/images.csv",
    output:
        png=drawn("results/figures/discrimination.png", "discrimination"),
        svg="results/figures/discrimination.svg",
    log:
        "logs/plot_discrimination/images.log",
    benchmark:
        "logs/benchmarks/plot_discrimination/images.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        code=code("plot_discrimination.py"),
    script:
        "../scripts/plot_discrimination.py"


rule plot_discrimination_of_maps:
    "Draw how well priors of feature maps tell natural maps from others, at one layer."
    input:
        "results/discrimination/{classifier}/{layer}.csv",
    output:
        png=drawn(
            "results/figures/{classifier}/{layer}/discrimination.png",
            "discrimination_of_maps",
            classifier="{classifier}",
            layer="{layer}",
        ),
        svg="results/figures/{classifier}/{layer}/discrimination.svg",
    log:
        "logs/plot_discrimination/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/plot_discrimination/{classifier}/{layer}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        code=code("plot_discrimination.py"),
    script:
        "../scripts/plot_discrimination.py"


rule plot_inverters:
    "Draw how well inverse networks reconstruct, and how they were trained."
    input:
        histories=layers_of(
            "results/inverters/{classifier}/{layer}/{file}", file=inverter_files("history.csv")
        ),
        reconstructed=layers_of("results/inversions/{classifier}/{layer}.h5"),
        images="results/images/test.h5",
        summary="results/tables/inverters.csv",
    output:
        depth=drawn(
            "results/figures/{classifier}/inverters.png", "inverters", classifier="{classifier}"
        ),
        depth_svg="results/figures/{classifier}/inverters.svg",
        inversions=drawn(
            "results/figures/{classifier}/inversions.png", "inversions", classifier="{classifier}"
        ),
        inversions_svg="results/figures/{classifier}/inversions.svg",
        training=drawn(
            "results/figures/{classifier}/inverter_training.png",
            "inverter_training",
            classifier="{classifier}",
        ),
        training_svg="results/figures/{classifier}/inverter_training.svg",
    log:
        "logs/plot_inverters/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_inverters/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        layers=lambda wildcards: STUDY["classifiers"][wildcards.classifier]["layers"],
        inverters=list(STUDY["inverters"]),
        code=code("plot_inverters.py"),
    script:
        "../scripts/plot_inverters.py"


rule plot_reconstructions:
    "Draw the images reconstructed from one layer, their errors, and how recipes converged."
    input:
        images="results/images/test.h5",
        reconstructed=recipes_of("results/reconstructions/{classifier}/{layer}/{recipe}.h5"),
        traces=recipes_of("results/reconstructions/{classifier}/{layer}/{recipe}.trace.csv"),
        table="results/evaluation/{classifier}/{layer}.csv",
    output:
        gallery=drawn(
            "results/figures/{classifier}/{layer}/gallery.png",
            "gallery",
            classifier="{classifier}",
            layer="{layer}",
            figure="gallery",
        ),
        gallery_svg="results/figures/{classifier}/{layer}/gallery.svg",
        errors=drawn(
            "results/figures/{classifier}/{layer}/errors.png",
            "errors",
            classifier="{classifier}",
            layer="{layer}",
            figure="errors",
        ),
        errors_svg="results/figures/{classifier}/{layer}/errors.svg",
        traces=drawn(
            "results/figures/{classifier}/{layer}/traces.png",
            "traces",
            classifier="{classifier}",
            layer="{layer}",
            figure="convergence",
        ),
        traces_svg="results/figures/{classifier}/{layer}/traces.svg",
    log:
        "logs/plot_reconstructions/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/plot_reconstructions/{classifier}/{layer}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        settings=canonical(
            {"images": STUDY["figures"]["images"], "recipes": list(STUDY["recipes"])}
        ),
        families=families.of_recipes(STUDY),
        code=code("plot_reconstructions.py"),
    script:
        "../scripts/plot_reconstructions.py"


rule plot_details:
    "Draw the best learned and the best hand-crafted recipe at one layer in detail."
    input:
        images="results/images/test.h5",
        reconstructed=recipes_of("results/reconstructions/{classifier}/{layer}/{recipe}.h5"),
        table="results/evaluation/{classifier}/{layer}.csv",
    output:
        png=drawn(
            "results/figures/{classifier}/{layer}/details.png",
            "details",
            classifier="{classifier}",
            layer="{layer}",
        ),
        svg="results/figures/{classifier}/{layer}/details.svg",
    log:
        "logs/plot_details/{classifier}/{layer}.log",
    benchmark:
        "logs/benchmarks/plot_details/{classifier}/{layer}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        settings=detail_settings(),
        families=families.of_recipes(STUDY),
        code=code("plot_details.py"),
    script:
        "../scripts/plot_details.py"


rule plot_measures:
    "Draw the measures of reconstructed images by layer."
    input:
        "results/tables/reconstruction_summary.csv",
    output:
        png=drawn(
            "results/figures/{classifier}/measures.png", "measures", classifier="{classifier}"
        ),
        svg="results/figures/{classifier}/measures.svg",
    log:
        "logs/plot_measures/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_measures/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        families=families.of_recipes(STUDY),
        code=code("plot_measures.py"),
    script:
        "../scripts/plot_measures.py"


rule plot_moved:
    "Draw how much a move by a few pixels changes each measure."
    input:
        "results/tables/moved.csv",
    output:
        png=drawn("results/figures/{classifier}/moved.png", "moved", classifier="{classifier}"),
        svg="results/figures/{classifier}/moved.svg",
    log:
        "logs/plot_moved/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_moved/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        code=code("plot_moved.py"),
    script:
        "../scripts/plot_moved.py"


rule plot_overview:
    "Draw one test image reconstructed from every layer by every recipe."
    input:
        images="results/images/test.h5",
        reconstructed=layers_of(
            "results/reconstructions/{classifier}/{layer}/{recipe}.h5", recipe=STUDY["recipes"]
        ),
    output:
        png=drawn(
            "results/figures/{classifier}/overview.png", "overview", classifier="{classifier}"
        ),
        svg="results/figures/{classifier}/overview.svg",
    log:
        "logs/plot_overview/{classifier}.log",
    benchmark:
        "logs/benchmarks/plot_overview/{classifier}.tsv"
    resources:
        mem_mb=grows(1500),
        runtime=grows(10),
    params:
        code=code("plot_overview.py"),
    script:
        "../scripts/plot_overview.py"
