# Stages in several jobs, gathered into the files that one job would write. Only with `shards:` above one.


include: "functions/shards.smk"


wildcard_constraints:
    shard=r"\d+",
    shards=r"\d+",


if SHARDS["statistics"] > 1:

    rule feature_statistics_shard:
        "Measure one shard of the feature maps of one layer."
        input:
            features=rules.feature_statistics.input.features,
        output:
            temp(shard("results/statistics/{classifier}/{layer}.h5")),
        log:
            shard("logs/statistics/{classifier}/{layer}.log"),
        benchmark:
            shard("logs/benchmarks/statistics/{classifier}/{layer}.tsv")
        threads: 2
        resources:
            gpu=gpu,
            mem_mb=grows(4000),
            runtime=grows(60),
        params:
            settings=rules.feature_statistics.params.settings,
            code=code("statistics_shard.py"),
        message:
            "Measuring shard {wildcards.shard} of {wildcards.shards} of the feature maps of {wildcards.classifier} {wildcards.layer}"
        script:
            "../scripts/statistics_shard.py"

    use rule feature_statistics as gather_statistics with:
        "Merge the statistics of all shards of the feature maps of one layer."
        input:
            rules.feature_statistics.input,
            shards=every_shard("statistics", "results/statistics/{classifier}/{layer}.h5"),

    ruleorder: gather_statistics > feature_statistics


if SHARDS["reconstructions"] > 1:

    use rule reconstruct as reconstruct_shard with:
        "Reconstruct one shard of the test images from one layer by one recipe."
        output:
            images=temp(shard("results/reconstructions/{classifier}/{layer}/{recipe}.h5")),
            trace=temp(shard("results/reconstructions/{classifier}/{layer}/{recipe}.trace.csv")),
        log:
            shard("logs/reconstruct/{classifier}/{layer}/{recipe}.log"),
        benchmark:
            shard("logs/benchmarks/reconstruct/{classifier}/{layer}/{recipe}.tsv")
        message:
            "Reconstructing shard {wildcards.shard} of {wildcards.shards} of the images from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe}"

    rule gather_reconstructions:
        "Gather the shards of the images reconstructed from one layer by one recipe."
        input:
            rules.reconstruct.input,
            shards=every_shard(
                "reconstructions", "results/reconstructions/{classifier}/{layer}/{recipe}.h5"
            ),
            traces=every_shard(
                "reconstructions",
                "results/reconstructions/{classifier}/{layer}/{recipe}.trace.csv",
            ),
        output:
            images="results/reconstructions/{classifier}/{layer}/{recipe}.h5",
            trace="results/reconstructions/{classifier}/{layer}/{recipe}.trace.csv",
        log:
            "logs/gather_reconstructions/{classifier}/{layer}/{recipe}.log",
        benchmark:
            "logs/benchmarks/gather_reconstructions/{classifier}/{layer}/{recipe}.tsv"
        resources:
            mem_mb=grows(1000),
            runtime=grows(30),
        params:  # those of `reconstruct`, since it is its file
            settings=reconstruction_settings,
            code=code("reconstruct.py"),
        message:
            "Gathering images reconstructed from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe}"
        script:
            "../scripts/gather.py"

    ruleorder: gather_reconstructions > reconstruct


if SHARDS["restarts"] > 1:

    use rule reconstruct_restarts as reconstruct_restarts_shard with:
        "Reconstruct one shard of the test images from one layer by one recipe, from other restarts."
        output:
            temp(shard("results/restarts/{classifier}/{layer}/{recipe}.h5")),
        log:
            shard("logs/reconstruct_restarts/{classifier}/{layer}/{recipe}.log"),
        benchmark:
            shard("logs/benchmarks/reconstruct_restarts/{classifier}/{layer}/{recipe}.tsv")
        message:
            "Reconstructing shard {wildcards.shard} of {wildcards.shards} of the images from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe} from other restarts"

    rule gather_restarts:
        "Gather the shards of the images reconstructed from one layer by one recipe, from other restarts."
        input:
            rules.reconstruct_restarts.input,
            shards=every_shard("restarts", "results/restarts/{classifier}/{layer}/{recipe}.h5"),
        output:
            "results/restarts/{classifier}/{layer}/{recipe}.h5",
        log:
            "logs/gather_restarts/{classifier}/{layer}/{recipe}.log",
        benchmark:
            "logs/benchmarks/gather_restarts/{classifier}/{layer}/{recipe}.tsv"
        resources:
            mem_mb=grows(1000),
            runtime=grows(30),
        params:
            settings=restarts_settings,
            code=code("reconstruct_restarts.py"),
        message:
            "Gathering images reconstructed from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe} from other restarts"
        script:
            "../scripts/gather.py"

    ruleorder: gather_restarts > reconstruct_restarts


if SHARDS["evaluation"] > 1:

    use rule evaluate as evaluate_shard with:
        "Measure the images that one shard of the recipes reconstructed from one layer."
        input:
            network=rules.evaluate.input.network,
            images=rules.evaluate.input.images,
            train=rules.evaluate.input.train,
            reconstructed=of_shard_recipes(
                "results/reconstructions/{classifier}/{layer}/{recipe}.h5"
            ),
            traces=of_shard_recipes(
                "results/reconstructions/{classifier}/{layer}/{recipe}.trace.csv"
            ),
        output:
            images=temp(shard("results/evaluation/{classifier}/{layer}.csv")),
            maps=temp(shard("results/evaluation/{classifier}/{layer}.statistics.csv")),
        log:
            shard("logs/evaluate/{classifier}/{layer}.log"),
        benchmark:
            shard("logs/benchmarks/evaluate/{classifier}/{layer}.tsv")
        params:
            recipes=shard_recipes,
            baselines=lambda wildcards: wildcards.shard == "1",
        message:
            "Measuring shard {wildcards.shard} of {wildcards.shards} of the recipes for {wildcards.classifier} {wildcards.layer}"

    rule gather_evaluation:
        "Gather the measures of all shards of the recipes at one layer."
        input:
            rules.evaluate.input,
            image_shards=every_shard("evaluation", "results/evaluation/{classifier}/{layer}.csv"),
            map_shards=every_shard(
                "evaluation", "results/evaluation/{classifier}/{layer}.statistics.csv"
            ),
        output:
            images="results/evaluation/{classifier}/{layer}.csv",
            maps="results/evaluation/{classifier}/{layer}.statistics.csv",
        log:
            "logs/gather_evaluation/{classifier}/{layer}.log",
        benchmark:
            "logs/benchmarks/gather_evaluation/{classifier}/{layer}.tsv"
        resources:
            mem_mb=grows(1000),
            runtime=grows(10),
        params:
            recipes=list(STUDY["recipes"]),
            baselines=True,
            statistics={key: STUDY["statistics"][key] for key in ("positions", "radius")},
            code=code("evaluate.py"),
        message:
            "Gathering the measures of {wildcards.classifier} {wildcards.layer}"
        script:
            "../scripts/gather_tables.py"

    ruleorder: gather_evaluation > evaluate
