# No names of the configuration may make two jobs write one path. Included last: it asks all rules.

from deep_restoration import outputs

SECTIONS = {
    "classifier": "classifiers",
    "patches": "patches",
    "prior": "priors",
    "inverter": "inverters",
    "recipe": "recipes",
    "visualisation": "visualisations",
}


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
    for rule in workflow.rules:
        values = {}
        for item in rule.output:
            values |= {name: allowed(limit) for name, limit in item.wildcard_constraints().items()}
        layers = values.pop("layer", [""])
        written = [*rule.output, *rule.log, *([rule.benchmark] if rule.benchmark else [])]
        patterns = [re.sub(r"\{(\w+),[^{}]*\}", r"{\1}", str(item)) for item in written]
        for chosen in product(*values.values()):
            here = dict(zip(values, chosen))
            keys = tuple(
                f"{SECTIONS[name]}.{value}"
                for name, value in here.items()
                if value in STUDY.get(SECTIONS.get(name), ())
            )
            for layer in layers:
                if layer in used.get(here.get("classifier"), [""]):
                    for pattern in patterns:
                        yield outputs.Output(pattern.format(**here, layer=layer), pattern, keys)


if clashes := outputs.clashes(every_output()):
    raise WorkflowError(str(configuration.ConfigurationError(clashes)))
