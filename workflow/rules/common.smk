# What rules share: the checked configuration, its slices for params, the code fingerprint, paths.

import os
import sys
from functools import lru_cache
from itertools import product

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"
# Relative, because an input's path counts: the same tree elsewhere is no change.
CAPTIONS = Path(os.path.relpath(Path(workflow.basedir) / "workflow" / "report"))
RESOURCES = Path(os.path.relpath(Path(workflow.basedir) / "resources"))
IMAGE_HASHES = Path(".snakemake") / "deep_restoration" / "images.json"

sys.path.insert(0, str(SCRIPTS.parent))

from deep_restoration.data import inventory, splits
from deep_restoration.files import hashing
from deep_restoration.jobs import launch, preflight
from deep_restoration.jobs.fingerprint import Library
from deep_restoration.study import configuration, visualisations

launch.prepare_environment()
LIBRARY = Library(SCRIPTS.parent / "deep_restoration")

# Snakemake itself knows only later.
PLANNING = launch.is_dry_run(sys.argv[1:])

# Now rather than at the end of the first long job.
if not PLANNING and (closed := launch.closed_folders("results", "logs")):
    raise WorkflowError(
        f"{closed[0]} cannot be written to{f', nor {len(closed) - 1} others' * (len(closed) > 1)}: "
        "make it writable, or compute elsewhere (snakemake --directory)"
    )

try:
    # What the user gave, without config/config.yaml, which Snakemake has put below it in `config`.
    GIVEN = workflow.config_settings.overwrite_config
    STUDY = configuration.with_store(configuration.based(config, GIVEN))
    STUDY = preflight.prepare(STUDY, PLANNING)
except configuration.ConfigurationError as error:
    raise WorkflowError(str(error)) from None

# Where results are shared: no part of the study, because nothing in them depends on it.
STORE = STUDY.pop("store")


def names(entries):
    """A wildcard's pattern from the configuration's own names, so that a typo is an error."""
    return "|".join(re.escape(name) for name in sorted(entries, reverse=True)) or "(?!)"


wildcard_constraints:
    split="train|test",
    colour="images|grey",
    classifier=names(STUDY["classifiers"]),
    layer=names({layer for c in STUDY["classifiers"].values() for layer in c["layers"]}),
    patches=names(STUDY["patches"]),
    prior=names(STUDY["priors"]),
    inverter=names(STUDY["inverters"]),
    replicate=r"\d+",
    recipe=names(STUDY["recipes"]),
    visualisation=names(STUDY["visualisations"]),
    kind=names(visualisations.kinds()),


def canonical(value):
    """Keys in order, so that reordering the configuration is no change."""
    if isinstance(value, dict):
        return {key: canonical(value[key]) for key in sorted(value)}
    return [canonical(item) for item in value] if isinstance(value, list) else value


def code(script):
    """The fingerprint of a script and of all project code that it reaches."""
    return LIBRARY.fingerprint(SCRIPTS / script)


def every_layer(pattern, **more):
    """The pattern for every layer of every classifier, times the lists given."""
    return [
        path
        for classifier, entry in STUDY["classifiers"].items()
        for path in expand(pattern, classifier=classifier, layer=entry["layers"], **more)
    ]


def layers_of(pattern, **more):
    """An input function: the pattern for every layer of the wildcard's classifier."""

    def paths(wildcards):
        layers = STUDY["classifiers"][wildcards.classifier]["layers"]
        return expand(pattern, layer=layers, **more, allow_missing=True)

    return paths


def recipes_of(pattern):
    """The pattern for every recipe."""
    return expand(pattern, recipe=STUDY["recipes"], allow_missing=True)


def store(wildcards, threads):
    """A param of every rule whose results are shared. Not recorded by Snakemake, because it depends on
    threads: another store reruns nothing."""
    return str(configuration.folder(STORE).absolute()) if STORE else ""


def gpu(wildcards):
    """1 on a cluster, and where this machine has a GPU. Without one, 0: jobs run beside each other on the
    cores instead of one after the other. A function, because while the rules are read nobody knows yet
    where jobs will run."""
    return int(not workflow.local_exec or launch.has_gpu())


def grows(first):
    """So much memory (MB) or time (minutes) at the first attempt, twice as much at the second, and so on."""
    return lambda wildcards, attempt: first * attempt


def rule_edges(wildcards):
    """Sorted pairs (maker, user) of the workflow's graph, found by asking each rule for the inputs of a
    sample of its jobs."""
    classifier = next(iter(STUDY["classifiers"]))
    choices = {"classifier": [classifier], "layer": STUDY["classifiers"][classifier]["layers"][-1:]}
    choices |= {"split": ["train", "test"], "recipe": list(STUDY["recipes"])}
    choices |= {"inverter": list(STUDY["inverters"]), "colour": ["images", "grey"]}
    choices["estimator"] = ["map"]
    choices["replicate"] = ["0"]
    choices |= {"visualisation": list(STUDY["visualisations"]), "kind": ["texture"]}
    priors, features = priors_of("images", "grey"), priors_of("features")
    sets, maps = sets_of("images", "grey"), sets_of("features")
    # Shards do the work of another rule.
    aside = re.compile(r".*_shard|gather_.*")
    makers = [rule for rule in workflow.rules if rule.output and not aside.fullmatch(rule.name)]
    edges = set()

    @lru_cache(maxsize=None)
    def makers_of(path):
        return [maker.name for maker in makers if maker.is_producer(path)]

    for user in makers:
        free = sorted(user.wildcard_names)
        inside = "classifier" in free
        choices |= {"prior": features if inside else priors, "patches": maps if inside else sets}
        searched = [name for name in choices["recipe"] if STUDY["recipes"][name].get("search")]
        several = (STUDY["starts"] or {"recipe": []})["recipe"]
        own = {"search": searched, "restore_starts": several, "plot_starts": several}
        here = choices | ({"recipe": own[user.name]} if user.name in own else {})
        for values in product(*(here[name] for name in free)):
            inputs, *_ = user.expand_input(Wildcards(fromdict=dict(zip(free, values))))
            edges |= {(maker, user.name) for path in inputs for maker in makers_of(path)}
    return [list(edge) for edge in sorted(edges)]


@lru_cache(maxsize=None)
def image_inventory(split):
    """Which files a folder of images holds (train, test, or those to denoise), and their content."""
    section, name = ("denoising", "images") if split == "denoising" else ("images", split)
    source, key = STUDY[section][name], f"{section}.{name}"
    if source in (configuration.EMBEDDED, None) or (split == "denoising" and source == "test"):
        return None
    folder = configuration.folder(source)
    if PLANNING and not folder.exists():
        print(f"{key}: there is no folder {source} yet; planned without it", file=sys.stderr)
        return {}
    found = inventory.survey(folder)
    if found.left_out and workflow.is_main_process:
        print(f"{key}: {found}", file=sys.stderr)
    files = found.images
    if split == "test":
        files = splits.evenly_spaced(files, STUDY["images"]["test_count"])
    return hashing.content_hashes(folder, files, IMAGE_HASHES)


def check_disjoint():
    """Test images that are also training images would make the study's claim void."""
    train, test = image_inventory("train"), image_inventory("test")
    if train and test:
        seen = {digest: name for name, digest in train.items() if digest}
        both = [f"{name} = {seen[digest]}" for name, digest in test.items() if digest in seen]
        if both:
            raise WorkflowError(
                f"{len(both)} of {len(test)} test images are also training images (same bytes): "
                f"{', '.join(both[:3])}. Take them out of images.train or images.test."
            )


check_disjoint()
