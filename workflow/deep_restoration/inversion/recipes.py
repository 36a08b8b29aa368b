"""Recipes: from the configuration of a way to restore images to priors, a plan, and images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..inverters.chain import load_chain
from ..networks import receptive_fields, saved
from ..priors import UNITS, Completing, Prior, load
from ..priors.norms import AlphaNorm, ColourNorm, DistanceTo
from ..priors.total_variation import TotalVariation
from ..runtime import batches, devices
from ..runtime.checkpoints import Checkpoint
from . import preimage
from .data_terms import DATA_TERMS
from .mahendran_vedaldi import alpha_weight_2015, by_depth, tv_weight_2015
from .preimage import Term

Paths = Sequence[str | os.PathLike]


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
    result: dict[str, Term] = {}
    for name, entry in entries.items():
        options = {key: value for key, value in entry.items() if key not in ("weight", "layers")}
        weight, field = entry["weight"], geometry["receptive_field"]
        units = UNITS[options.pop("units", "spread")]
        if isinstance(weight, list):
            weight = by_depth(weight, field)
        if name in learned:
            if isinstance(options.get("sigma"), (int, float)):
                options["sigma"] = [options["sigma"]] * 2
            own = weight if isinstance(weight, dict) else dict.fromkeys(learned[name], weight)
            for layer, path in learned[name].items():
                if layer not in own:
                    continue
                label = name if layer is None else f"{name}@{layer}"
                result[label] = Term(float(own[layer]), units(load(path, **options)), layer)
            continue
        if name == "tv":
            prior: Prior = TotalVariation(**options)
            if weight == "mahendran2015":
                weight = tv_weight_2015(field)
        elif name == "alpha_norm":
            prior = AlphaNorm(mean, **options)
            weight = alpha_weight_2015() if weight == "mahendran2015" else weight
        elif name == "inverter":
            assert predicted is not None  # a recipe with this prior has an inverse network
            prior = DistanceTo(predicted)
        elif name == "colour_norm":
            prior = ColourNorm(mean, **options)
        else:
            continue  # of feature maps, and this layer has no earlier one
        result[name] = Term(float(weight), prior)
    return result


def by_layer(priors: Paths, feature_priors: Paths) -> dict[str, dict]:
    """Files of learned priors by name and layer, None for those of images: `<prior>.safetensors`, those
    of feature maps in a folder with the name of their layer."""
    learned: dict[str, dict] = {Path(path).stem: {None: path} for path in priors}
    for path in map(Path, feature_priors):
        learned.setdefault(path.stem, {})[path.parent.name] = path
    return learned


class Restorer:
    """Restores images from one layer by one recipe.

    `sees`: stride and receptive field of the layer. `priors`: files of the learned priors that the
    recipe uses, `<prior>.safetensors`, those of feature maps in a folder with the name of their layer.
    `files`: all that it has read.
    """

    def __init__(
        self,
        network_file: str | os.PathLike,
        layer: str,
        sees: dict,
        priors: Paths = (),
        inverter: Paths = (),
        feature_priors: Paths = (),
    ):
        self.layer, self.sees, self.where = layer, sees, devices.device()
        self.files = [network_file, *priors, *inverter, *feature_priors]
        self.learned = by_layer(priors, feature_priors)
        inside = {place for files in self.learned.values() for place in files if place}
        self.network = saved.load(network_file, [layer, *sorted(inside - {layer})])
        self.network.to(self.where).to(memory_format=torch.channels_last)
        self.inverter = load_chain(inverter[0]).to(self.where) if inverter else None
        self._completes: dict[tuple[str, int], Callable[[torch.Tensor], torch.Tensor]] = {}

    @classmethod
    def of(cls, inputs, layer: str, sees: dict) -> Restorer:
        """With the files of a job's inputs: its `network`, and the learned ones that it names."""
        keys = ("priors", "feature_priors", "inverter")
        return cls(inputs.network, layer, sees, **{key: inputs.get(key, []) for key in keys})

    def restore(
        self,
        recipe: dict,
        truth: torch.Tensor,
        names: Sequence[str],
        seed: int,
        checkpoint: Checkpoint,
        watched: bool = True,
    ) -> preimage.Result:
        """Restore `truth`, images N x 3 x H x W in [0, 1], from nothing but their maps.

        If `watched`, the trace of an optimisation holds its distance from `truth` on the way.
        """
        truth, count = truth.to(self.where), len(names)
        complete = self._completing(recipe, truth.shape[-1])
        seen = batches.Batches(count, "looking at images")
        with torch.no_grad():
            target = seen.join(lambda part: self.network(truth[part])[self.layer], count)
        began, predicted = time.monotonic(), None
        if (inverter := self.inverter) is not None:
            with torch.no_grad():
                predicted = seen.join(
                    lambda part: complete(inverter.image(target[part]).clamp(0, 1)), count
                )
            if predicted.is_cuda:
                torch.cuda.synchronize()
        ready = time.monotonic() - began
        if not recipe.get("phases"):
            assert predicted is not None  # a recipe has phases, an inverse network, or both
            return preimage.Result(predicted, _compared(0, truth, predicted, ready), ready)
        mean = self.network.mean
        result = preimage.reconstruct(
            self.network,
            DATA_TERMS[recipe.get("data", "normalised")](self.layer, target, names),
            names,
            truth.shape[-1],
            mean,
            build(recipe.get("priors") or {}, self.learned, self.sees, mean, predicted),
            preimage.plan_of(recipe, self.sees),
            seed,
            checkpoint,
            predicted,
            truth if watched else None,
        )
        result.seconds += ready
        result.trace = [(*row[:3], row[3] + ready) for row in result.trace]
        if recipe.get("unseen"):
            began = time.monotonic()
            result.images = seen.join(lambda part: complete(result.images[part]), count)
            result.seconds += time.monotonic() - began
            if watched:
                after = result.trace[-1][0] + 1
                result.trace += _compared(after, truth, result.images, result.seconds)
        return result

    def _completing(self, recipe: dict, size: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function that fills images, where the layer sees nothing, with what the recipe's prior
        expects."""
        if not recipe.get("unseen"):
            return lambda images: images
        key = (recipe["unseen"], size)
        if key not in self._completes:  # because the trials of a search need it again
            prior = load(self.learned[recipe["unseen"]][None])
            assert isinstance(prior, Completing)  # study.configuration accepts no other
            seen = receptive_fields.seen(self.network, self.layer, size)
            self._completes[key] = lambda images: prior.complete(images, seen).clamp(0, 1)
        return self._completes[key]


def _compared(
    iteration: int, truth: torch.Tensor, images: torch.Tensor, seconds: float
) -> list[tuple]:
    """Rows of a trace with the distance of images from `truth`."""
    error = float((images - truth).square().mean())
    similar = preimage.similarity(truth, images)
    return [(iteration, "image", error, seconds), (iteration, "ssim", similar, seconds)]
