# No names of the configuration may make two jobs write one path. Included last: it asks all rules.

from functools import lru_cache
from itertools import product

from deep_restoration.jobs import outputs
from snakemake.io import strip_wildcard_constraints

SECTIONS = {
    "classifier": "classifiers",
    "patches": "patches",
    "prior": "priors",
    "inverter": "inverters",
    "recipe": "recipes",
    "visualisation": "visualisations",
}


@lru_cache(maxsize=None)
def allowed(limit):
    """Values of a wildcard: all the names that its pattern lists, one number where it takes any."""
    found = ["0", *(re.sub(r"\\(.)", r"\1", name) for name in limit.split("|"))]
    return [value for value in found if re.fullmatch(limit, value)]


def every_output():
    """What each rule writes, for all values that its wildcards can have."""
    used = {
        name: used_layers(Wildcards(fromdict={"classifier": name}), 1)
        for name in STUDY["classifiers"]
    }
    for maker in workflow.rules:
        limits = workflow.wildcard_constraints | maker.wildcard_constraints
        free = sorted(maker.wildcard_names)
        written = [*maker.output, *maker.log, *([maker.benchmark] if maker.benchmark else [])]
        patterns = [strip_wildcard_constraints(str(item)) for item in written]
        for chosen in product(*(allowed(limits[name]) for name in free)):
            here = dict(zip(free, chosen))
            if "layer" in here and here["layer"] not in used[here["classifier"]]:
                continue
            keys = tuple(
                f"{SECTIONS[name]}.{value}"
                for name, value in here.items()
                if value in STUDY.get(SECTIONS.get(name), ())
            )
            for pattern in patterns:
                yield outputs.Output(pattern.format(**here), pattern, keys)


# A job was planned by a process that asked.
if workflow.is_main_process and (clashes := outputs.clashes(every_output())):
    raise WorkflowError(str(configuration.ConfigurationError(clashes)))
