# What stages share: the checked configuration, names of wildcards, the code fingerprint, paths, captions.

import os
import sys

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"
# Relative, because an input's path counts: the same tree elsewhere is no change.
CAPTIONS = Path(os.path.relpath(Path(workflow.basedir) / "workflow" / "report"))
RESOURCES = Path(os.path.relpath(Path(workflow.basedir) / "resources"))

sys.path.insert(0, str(SCRIPTS.parent))

from deep_restoration.jobs import launch, preflight
from deep_restoration.jobs.fingerprint import Library
from deep_restoration.study import configuration, families, feature_layers, registry, visualisations
from deep_restoration.study.configuration import canonical

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


def everything():
    """The study of config/everything.yaml."""
    return load_configfile(Path(workflow.basedir) / "config" / "everything.yaml")


try:
    # What the user gave, without config/config.yaml, which Snakemake has put below it in `config`.
    GIVEN = workflow.config_settings.overwrite_config
    STUDY = configuration.with_store(configuration.based(config, GIVEN, everything))
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


def linear_inverses(extension):
    """Tables of the linear inverses of every classifier, if the study has them."""
    wanted = STUDY["classifiers"] if STUDY["linear_inverse"] else []
    return [f"results/linear_inverse/{classifier}.{extension}" for classifier in wanted]


def recipes_of(pattern):
    """The pattern for every recipe."""
    return expand(pattern, recipe=STUDY["recipes"], allow_missing=True)


def layers_before(wildcards):
    """Shape, stride, receptive field of every layer up to the wildcard's. Found out when the
    configuration was checked: a job would need seconds for it."""
    architecture = STUDY["classifiers"][wildcards.classifier]["architecture"]
    layers = preflight.describe(architecture, STUDY["images"]["size"])["layers"]
    last = list(layers).index(wildcards.layer)
    return dict(list(layers.items())[: last + 1])


def sight(wildcards):
    """Stride and receptive field of the wildcard's layer."""
    layer = layers_before(wildcards)[wildcards.layer]
    return {key: layer[key] for key in ("receptive_field", "stride")}


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


# Captions are files of workflow/report; each belongs to a section of the report.
REPORT_SECTIONS = {
    "overview": "Results",
    "measures": "Results",
    "time_to_quality": "Results",
    "published": "Results",
    "moved": "Results",
    "details": "Reconstructions",
    "gallery": "Reconstructions",
    "errors": "Reconstructions",
    "traces": "Reconstructions",
    "restarts": "Ambiguity",
    "ambiguity": "Ambiguity",
    "prior_selection": "Adding priors of feature maps",
    "prior_selection_images": "Adding priors of feature maps",
    "classifier": "Classifiers",
    "visualisations": "Visualisations",
    "inverters": "Inverse networks",
    "inversions": "Inverse networks",
    "inverter_training": "Inverse networks",
    "denoising": "Learned priors",
    "discrimination": "Learned priors",
    "prior": "Learned priors",
    "discrimination_of_maps": "Learned priors",
    "statistics": "Feature maps",
    "stationarity": "Feature maps",
    "sparsity": "Feature maps",
    "patches": "Feature maps",
    "linear_inverse": "Linear inverses",
    "linear_reconstructions": "Linear inverses",
}


def drawn(path, caption, **labels):
    """A PNG that `snakemake --report` shows, too."""
    category = REPORT_SECTIONS[caption]
    return report(path, caption=f"../report/{caption}.rst", category=category, labels=labels)
