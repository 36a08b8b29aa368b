# Stages whose work grows with the number of images, or of recipes, in parts that are jobs of their own.
# Only with `shards:` of more than one. What the parts are gathered in are the files that one job writes.

from deep_restoration.jobs import shards


wildcard_constraints:
    shard=r"\d+",
    shards=r"\d+",


def shard(path):
    """`{recipe}.h5` of one shard: `{recipe}.shards/{shard}-of-{shards}.h5`."""
    stem, suffix = path.rsplit("}", 1)
    return f"{stem}}}.shards/{{shard}}-of-{{shards}}{suffix}"


def every_shard(stage, path):
    number = SHARDS[stage]
    return expand(shard(path), shard=range(1, number + 1), shards=number, allow_missing=True)


def shard_recipes(wildcards):
    recipes = list(STUDY["recipes"])
    return recipes[shards.part(len(recipes), 1, wildcards)]


def of_shard_recipes(pattern):
    return lambda wildcards: expand(pattern, recipe=shard_recipes(wildcards), allow_missing=True)


def image_count(split):
    return image_settings(Wildcards(fromdict={"split": split}))["count"]


TRAINING_IMAGES = image_count("train")

# By stage: as many as are asked for, or as there are batches, maps or recipes.
SHARDS = {
    stage: shards.count(samples, batch, STUDY["shards"])
    for stage, samples, batch in (
        ("statistics", min(TRAINING_IMAGES, STUDY["features"]["images"] or TRAINING_IMAGES), 1),
        ("reconstructions", image_count("test"), STUDY["batch"]),
        ("evaluation", len(STUDY["recipes"]), 1),
        (
            "starts",
            min(image_count("test"), (STUDY["starts"] or {"images": 1})["images"]),
            STUDY["batch"],
        ),
    )
}


if SHARDS["statistics"] > 1:

    rule feature_statistics_shard:
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
        input:
            rules.feature_statistics.input,
            shards=every_shard("statistics", "results/statistics/{classifier}/{layer}.h5"),

    ruleorder: gather_statistics > feature_statistics


if SHARDS["reconstructions"] > 1:

    use rule reconstruct as reconstruct_shard with:
        output:
            images=temp(shard("results/reconstructions/{classifier}/{layer}/{recipe}.h5")),
            trace=temp(shard("results/reconstructions/{classifier}/{layer}/{recipe}.trace.csv")),
        log:
            shard("logs/reconstruct/{classifier}/{layer}/{recipe}.log"),
        benchmark:
            shard("logs/benchmarks/reconstruct/{classifier}/{layer}/{recipe}.tsv")
        message:
            "Restoring shard {wildcards.shard} of {wildcards.shards} of the images from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe}"

    rule gather_reconstructions:
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
            "Gathering images restored from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe}"
        script:
            "../scripts/gather.py"

    ruleorder: gather_reconstructions > reconstruct


if SHARDS["starts"] > 1:

    use rule restore_starts as restore_starts_shard with:
        output:
            temp(shard("results/starts/{classifier}/{layer}/{recipe}.h5")),
        log:
            shard("logs/restore_starts/{classifier}/{layer}/{recipe}.log"),
        benchmark:
            shard("logs/benchmarks/restore_starts/{classifier}/{layer}/{recipe}.tsv")
        message:
            "Restoring shard {wildcards.shard} of {wildcards.shards} of the images from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe} from other starts"

    rule gather_starts:
        input:
            rules.restore_starts.input,
            shards=every_shard("starts", "results/starts/{classifier}/{layer}/{recipe}.h5"),
        output:
            "results/starts/{classifier}/{layer}/{recipe}.h5",
        log:
            "logs/gather_starts/{classifier}/{layer}/{recipe}.log",
        benchmark:
            "logs/benchmarks/gather_starts/{classifier}/{layer}/{recipe}.tsv"
        resources:
            mem_mb=grows(1000),
            runtime=grows(30),
        params:
            settings=starts_settings,
            code=code("restore_starts.py"),
        message:
            "Gathering images restored from {wildcards.classifier} {wildcards.layer} by {wildcards.recipe} from other starts"
        script:
            "../scripts/gather.py"

    ruleorder: gather_starts > restore_starts


if SHARDS["evaluation"] > 1:

    use rule evaluate as evaluate_shard with:
        input:
            network=rules.evaluate.input.network,
            images=rules.evaluate.input.images,
            train=rules.evaluate.input.train,
            restored=of_shard_recipes("results/reconstructions/{classifier}/{layer}/{recipe}.h5"),
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
