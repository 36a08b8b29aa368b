# Into how many parts a stage's work is split, and what belongs to each.

from deep_restoration.jobs import shards


def shard(path):
    """`{recipe}.h5` of one shard: `{recipe}.shards/{shard}-of-{shards}.h5`."""
    stem, suffix = path.rsplit("}", 1)
    return f"{stem}}}.shards/{{shard}}-of-{{shards}}{suffix}"


def every_shard(stage, path):
    """The path of every shard of a stage."""
    number = SHARDS[stage]
    return expand(shard(path), shard=range(1, number + 1), shards=number, allow_missing=True)


def shard_recipes(wildcards):
    """Names of the recipes of one shard."""
    recipes = list(STUDY["recipes"])
    return recipes[shards.part(len(recipes), 1, wildcards)]


def of_shard_recipes(pattern):
    """An input function: the pattern for the recipes of the wildcard's shard."""
    return lambda wildcards: expand(pattern, recipe=shard_recipes(wildcards), allow_missing=True)


def image_count(split):
    """How many images a split has."""
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
            "restarts",
            min(image_count("test"), (STUDY["restarts"] or {"images": 1})["images"]),
            STUDY["batch"],
        ),
    )
}
