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


def every_output():
    """What each rule writes, for all values that its wildcards can have."""
    values = {wildcard: list(STUDY[section]) for wildcard, section in SECTIONS.items()}
    values["prior"].append("tv")  # denoises, too
    values |= {"split": ["train", "test"], "colour": ["images", "grey"]}
    values |= {"kind": list(visualisation_settings.KINDS), "replicate": ["0"]}
    values |= {"shard": ["1"], "shards": ["2"]}
    layers = {
        name: used_layers(Wildcards(fromdict={"classifier": name}), 1)
        for name in STUDY["classifiers"]
    }
    for rule in workflow.rules:
        limits = {}
        for item in rule.output:
            limits |= {
                name: re.compile(limit) for name, limit in item.wildcard_constraints().items()
            }
        free = sorted(rule.wildcard_names - {"layer"})
        written = [*rule.output, *rule.log, *([rule.benchmark] if rule.benchmark else [])]
        patterns = [re.sub(r"\{(\w+),[^{}]*\}", r"{\1}", str(item)) for item in written]
        for chosen in product(*(values[name] for name in free)):
            here = dict(zip(free, chosen))
            inside = layers[here["classifier"]] if "layer" in rule.wildcard_names else [""]
            if not all(limits[name].fullmatch(here[name]) for name in free if name in limits):
                continue
            keys = tuple(
                f"{SECTIONS[name]}.{value}"
                for name, value in here.items()
                if value in STUDY.get(SECTIONS.get(name), ())
            )
            for layer in inside:
                if layer and not limits["layer"].fullmatch(layer):
                    continue
                for pattern in patterns:
                    yield outputs.Output(pattern.format(**here, layer=layer), pattern, keys)


if clashes := outputs.clashes(every_output()):
    raise WorkflowError(str(configuration.ConfigurationError(clashes)))
