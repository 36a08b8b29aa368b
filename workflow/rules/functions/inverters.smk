# Which inverse networks there are, and how they are trained.


def inverter_settings(wildcards):
    """How an inverse network is trained. Further replicates change nothing for the others."""
    entry = STUDY["inverters"][wildcards.inverter]
    used = {key: value for key, value in entry.items() if key != "replicates"}
    return canonical(used | {"seed": STUDY["seed"], "held_out": STUDY["images"]["held_out"]})


def inverter_files(extension):
    """Without classifier and layer: every replicate of every inverse network."""
    return [
        f"{name}/{replicate}.{extension}"
        for name, entry in STUDY["inverters"].items()
        for replicate in range(entry["replicates"])
    ]


def layer_inverters(extension):
    """Files of every inverse network of one layer."""
    path = "results/inverters/{classifier}/{layer}/{file}"
    return expand(path, file=inverter_files(extension), allow_missing=True)


def inversion_settings():
    """Kind and regime of every inverse network, by name."""
    described = {
        f"{key}s": {name: entry[key] for name, entry in STUDY["inverters"].items()}
        for key in ("kind", "regime")
    }
    return canonical(described | {"seed": STUDY["seed"]})
