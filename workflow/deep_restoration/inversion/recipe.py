"""A recipe: how images are reconstructed, read from the configuration once, handed on as an object."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import torch

from ..files.tables import read_json
from ..priors.base import UNITS
from ..priors.registry import HAND_CRAFTED, Given, load
from ..study.feature_layers import acted_on
from .annealed import Annealing
from .mahendran_vedaldi import WEIGHTS, by_depth, data_weight_2016, jitter_of
from .preimage import Options, Plan, Term
from .schedules import Phase, Plateau

Paths = Sequence[str | os.PathLike]
Values = dict[str, float]  # what a search tries, by the names of study.searched.parameters


@dataclass(frozen=True)
class Recipe(Options):
    """The keys of a recipe in the configuration, and what follows from them.

    priors: by name, each its `weight` and options (see `build`). data: a name of DATA_TERMS. components: most
    of data `whitened`. data_weight: a number, or `mahendran2016`, by depth. extrapolate: the autoregressive
    prior that completes the image where the layer sees nothing. anneal: see `annealed`. The others as in
    `preimage`. Without phases there is no optimisation: the image is that of the recipe's annealing or
    inverse network.
    """

    optimiser: str = ""
    phases: tuple[Phase, ...] = ()
    priors: dict[str, dict] = field(default_factory=dict)
    data: str = "normalised"
    components: int = 64
    data_weight: float | str = 1.0
    anneal: Annealing | None = None
    extrapolate: str | None = None

    @classmethod
    def of(cls, entry: dict, found: Paths = ()) -> Recipe:
        """The recipe of an entry of the configuration, with the values that a search has written to the
        file in `found`, if there is one. Keys of other stages (inverter, search) are left out."""
        known = {key.name for key in fields(cls)}
        given = {key: value for key, value in entry.items() if key in known and value is not None}
        if "phases" in given:
            given["phases"] = tuple(Phase(**phase) for phase in given["phases"])
        if "converged" in given:
            given["converged"] = Plateau(**given["converged"])
        if "anneal" in given:
            anneal = given["anneal"]
            given["anneal"] = Annealing(**anneal | {"noise": tuple(anneal["noise"])})
        recipe = cls(**given)
        for path in found:
            recipe = recipe.with_values(read_json(path)["values"])
        return recipe

    def facts(self) -> dict:
        """The recipe as JSON, for the key of a checkpoint."""
        return asdict(self)

    def with_values(self, values: Values) -> Recipe:
        """The recipe with other values; `rate` is that of the first phase, to which others keep their ratio,
        and a denoiser's `sigma` the last, to which the first keeps its ratio."""
        changed: dict = {}
        priors, anneal = dict(self.priors), self.anneal
        for name, value in values.items():
            group, _, key = name.partition(".")
            if name == "rate":
                factor = value / self.phases[0].rate
                phases = (replace(phase, rate=phase.rate * factor) for phase in self.phases)
                changed["phases"] = tuple(phases)
            elif name == "data_weight":
                changed["data_weight"] = value
            elif group == "anneal":
                assert anneal is not None  # study.configuration accepts no other
                anneal = replace(anneal, **{key: value})
            elif group == "priors":
                priors[key] = priors[key] | {"weight": value}
            elif isinstance(level := priors[key].get("sigma"), list):
                priors[key] = priors[key] | {"sigma": [level[0] * value / level[1], value]}
            else:
                priors[key] = priors[key] | {"sigma": value}
        return replace(self, priors=priors, anneal=anneal, **changed)

    def shorter(self, share: float) -> Recipe:
        """The recipe with a share of its iterations, at least one in every phase, and of its warm-ups."""

        def less(phase: Phase) -> Phase:
            iterations = max(1, round(phase.iterations * share))
            return replace(phase, iterations=iterations, warmup=round(phase.warmup * share))

        return replace(self, phases=tuple(map(less, self.phases)))

    def with_prior(self, name: str, weights: dict[str, float]) -> Recipe:
        """The recipe with a prior of feature maps at these layers, each with its weight; of no layer, as it
        is."""
        if not weights:
            return self
        return replace(self, priors={**self.priors, name: {"weight": weights}})

    def plan(self, geometry: dict) -> Plan:
        """How the optimisation goes for a layer of that stride and receptive field."""
        stride, receptive_field = geometry["stride"], geometry["receptive_field"]
        weight = self.data_weight
        if weight == "mahendran2016":
            weight = data_weight_2016(stride, receptive_field)
        return Plan(
            float(weight),
            self.optimiser,
            self.phases,
            jitter_of(stride) if any(phase.jitter for phase in self.phases) else 1,
            **{option.name: getattr(self, option.name) for option in fields(Options)},
        )


def build(
    entries: dict[str, dict],
    learned: dict[str, dict[str | None, str | os.PathLike]],
    geometry: dict,
    mean: torch.Tensor,
    predicted: torch.Tensor | None = None,
) -> dict[str, Term]:
    """The terms of the `priors` of a recipe, by name; of a prior of feature maps `name@layer` each.

    `learned` maps the names of learned priors to their files by layer, None for images; `geometry` is
    that of the layer (its receptive field, for weights by depth), `mean` the mean colour, 1 x 3 x 1 x 1
    in [0, 1], `predicted` the images of the recipe's inverse network, N x 3 x H x W.
    A prior of feature maps whose `weight` is a dictionary, weights by layer, is a term of these layers
    alone.
    """
    given = Given(mean, predicted)
    result: dict[str, Term] = {}

    for name, entry in entries.items():
        options = {key: value for key, value in entry.items() if key not in ("weight", "layers")}
        weight, field = entry["weight"], geometry["receptive_field"]
        units = UNITS[options.pop("units", "spread")]
        if isinstance(weight, list):
            weight = by_depth(weight, field)
        if name in learned:
            # There may be files of further layers: of the annealing's, or of a study that adds it.
            for layer in acted_on(entry, list(learned[name])):
                label = name if layer is None else f"{name}@{layer}"
                own = weight[layer] if isinstance(weight, dict) else weight
                prior = load(learned[name][layer], **options)
                result[label] = Term(float(own), units(prior), layer)
            continue
        if name not in HAND_CRAFTED:
            continue  # of feature maps, and no layer is in front of this one
        if isinstance(weight, str):
            weight = WEIGHTS[name][weight](field)
        result[name] = Term(float(weight), HAND_CRAFTED[name](given, **options))
    return result


def by_layer(priors: Paths, feature_priors: Paths) -> dict[str, dict]:
    """Files of learned priors by name and layer, None for those of images: `<prior>.safetensors`, those
    of feature maps in a folder with the name of their layer."""
    learned: dict[str, dict] = {Path(path).stem: {None: path} for path in priors}
    for path in map(Path, feature_priors):
        learned.setdefault(path.stem, {})[path.parent.name] = path
    return learned
