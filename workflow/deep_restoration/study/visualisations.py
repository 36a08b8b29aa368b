"""What the configuration's `visualisations` may say, and what it means. Imports no torch.

An entry is of one kind, has keys of that kind, and takes how it is optimised from a recipe, or from the
same keys in the entry itself, which come before those of the recipe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from . import schema

ATTRIBUTIONS = ("gradient", "deconvnet", "guided_backpropagation", "patternnet")
# Names of ReLUs: modules, functions, methods.
RECTIFIERS = ("ReLU", "relu", "relu_", "ReLU6", "relu6", "relu6_")
# Other non-linearities: only the gradient knows what to do there.
UNRULED = (
    *("GELU", "gelu", "SiLU", "silu", "silu_", "Hardswish", "hardswish", "Hardsigmoid"),
    *("hardsigmoid", "Sigmoid", "sigmoid", "Tanh", "tanh", "ELU", "elu", "LeakyReLU", "leaky_relu"),
    *("PReLU", "Mish", "mish", "Softmax", "softmax", "MultiheadAttention", "Softplus", "softplus"),
)
WEIGHTED = ("Conv2d", "Linear", "conv2d", "linear")


def unruled(method: str, steps: Sequence[tuple[str, str]]) -> str | None:
    """Why a method of attribution cannot go through these steps, (name, operation) each; or None."""
    if method == "gradient":
        return None
    for name, operation in steps:
        if operation in UNRULED:
            return f"there is no rule for {operation} ({name}), only for ReLUs; gradient goes through it"
    if method == "patternnet" and not any(operation in WEIGHTED for _, operation in steps):
        return "there is neither a convolution nor a fully connected layer whose pattern to learn"
    return None


def kinds() -> list[str]:
    """What an entry may be."""
    return list(schema.kinds(schema.entries("visualisations")))


def planned(kind: str) -> set[str]:
    """The keys that an entry of a kind has in common with recipes, and takes from one where it has none
    of its own. A recipe's weight of the data belongs to another data term; a caricature starts at its
    image."""
    own = schema.kinds(schema.entries("visualisations"))[kind]["properties"]
    return set(own) & set(schema.entries("recipes")["properties"]) - {"data_weight"}


def plan(config: dict, entry: dict) -> dict:
    """How an entry is optimised, as a recipe: its own keys before those of its recipe; {} for none."""
    if "recipe" not in entry:
        return {}
    recipe, keys = config["recipes"].get(entry["recipe"]) or {}, planned(entry["kind"])
    own = {key: value for key, value in entry.items() if key in keys}
    return (
        {key: value for key, value in recipe.items() if key in keys}
        | own
        | {"data_weight": entry["data_weight"]}
    )


def reachable(classifier: dict, known: dict[str, dict]) -> list[str]:
    """Of all layers, those that the stored classifier has: one trained here ends at its deepest."""
    layers = [name for name in known if name != "image"]
    if classifier["weights"] != "exemplar":
        return layers
    inside = [layers.index(layer) for layer in classifier["layers"] if layer in layers]
    return layers[: max(inside, default=-1) + 1]


def layers_of(entry: dict, classifier: dict, known: dict[str, dict]) -> list[str]:
    """The layers of a classifier that an entry shows, shallow to deep; none where it does not apply.

    `known`: all of the architecture's by name, in order, as `graph.geometry` has them. Classes are the
    last one's; a classifier trained here has none.
    """
    if entry.get("of") == "class":
        steps = [name for name, facts in known.items() if facts["operation"] != "block"]
        return [] if classifier["weights"] == "exemplar" else steps[-1:]
    inside = reachable(classifier, known)
    content = entry.get("content")
    if content and content["layer"] not in inside:
        return []
    chosen = [layer for layer in entry["layers"] or classifier["layers"] if layer in inside]
    return sorted(chosen, key=list(known).index)


def faults(config: dict, name: str, entry: dict, found: dict[str, dict]) -> Iterable[str]:
    """What cannot be done of one entry. `found`: each classifier as `configuration.describe` has it."""
    from .wording import nearest

    where = f"visualisations.{name}"
    classifiers = config["classifiers"]
    inside = {c: reachable(entry_, found[c]["layers"]) for c, entry_ in classifiers.items()}
    if entry.get("of") == "class":
        if entry["layers"]:
            yield f"{where}.layers: classes are the last layer's; take of: channel for other layers"
        if all(c["weights"] == "exemplar" for c in classifiers.values()):
            yield (
                f"{where}.of is class, but no classifier has classes: those with weights exemplar are "
                "trained here and stored up to the deepest of their layers; allowed: unit, channel"
            )
        for classifier, facts in found.items():
            if facts["stop"] and classifiers[classifier]["weights"] != "exemplar":
                yield (
                    f"images.size is {config['images']['size']}: too small to reach the classes of "
                    f"{classifier} for {where} (it ends at {facts['stop']})"
                )
                return
    for key, wanted in (
        ("layers", entry["layers"] or []),
        ("content.layer", [entry["content"]["layer"]] if entry.get("content") else []),
    ):
        for layer in wanted:
            if not any(layer in names for names in inside.values()):
                names = sorted({layer for names in inside.values() for layer in names} - {"image"})
                yield (
                    f"{where}.{key}: no classifier has a layer {layer!r} (one with weights exemplar "
                    f"ends at the deepest of its layers); nearest: {nearest(layer, names)}"
                )
    if entry.get("content") and entry["images"] < 2:
        yield f"{where}.images is {entry['images']}; with content, the style is that of the next image: 2"
    for classifier, facts in found.items():
        known = facts["layers"]
        for layer in layers_of(entry, classifiers[classifier], known):
            shape = known[layer]["shape"]
            channels = shape[0]
            if len(shape) not in (1, 3):
                yield (
                    f"{where}.layers: {layer!r} of {classifier} yields {' x '.join(map(str, shape))} "
                    "values, neither maps (channels x height x width) nor a vector; take another"
                )
            units = entry.get("units")
            for unit in units if isinstance(units, list) else []:
                if unit >= channels:
                    yield (
                        f"{where}.units holds {unit}, but layer {layer} of {classifier} has "
                        f"{channels} channels, counted from 0"
                    )
            before = list(known)[: list(known).index(layer) + 1]
            steps = [(step, known[step]["operation"]) for step in before]
            for method in entry.get("methods", []):
                if reason := unruled(method, steps):
                    yield f"{where}.methods: {method} of {classifier} {layer}: {reason}"
