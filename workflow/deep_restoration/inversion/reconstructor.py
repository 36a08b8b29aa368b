"""Images reconstructed from one layer of a network by a recipe."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ..data.images import as_tensor
from ..inverters.chain import Chain, load_chain
from ..networks import receptive_fields, saved
from ..priors import annealing
from ..priors.base import Completing
from ..priors.registry import load
from ..runtime import batches, devices
from ..runtime.checkpoints import Checkpoint
from . import preimage
from .annealed import Annealing, anneal, gradients
from .data_terms import DATA_TERMS, Given, channel_whitening
from .recipe import Paths, Recipe, build, by_layer
from .shrinkage import Shrinkage
from .surrogates import Surrogates


class Reconstructor:
    """Reconstructs images from one layer of a network by one recipe.

    `network` yields the maps of the layer, and of those on which the recipe's priors act, as
    `networks.graph.Network` does: frozen, with the classifier's normalisation inside, and with the mean
    colour as a buffer `mean`, on whose device everything is computed. `sees`: stride and receptive field of
    the layer. `learned`: files of the learned priors that the recipe uses (see `by_layer`). `inverter`,
    `surrogates` and `shrinkage`: where the recipe has them. `statistics`: the file of the layer's
    statistics, where its data term is fitted to them. `files`: all that was read.
    """

    def __init__(
        self,
        network: nn.Module,
        layer: str,
        sees: dict,
        learned: dict[str, dict] | None = None,
        *,
        inverter: Chain | None = None,
        surrogates: Surrogates | None = None,
        shrinkage: Shrinkage | None = None,
        statistics: Paths = (),
        files: Paths = (),
    ):
        self.network, self.layer, self.sees, self.learned = network, layer, sees, learned or {}
        self.mean = network.get_buffer("mean")
        self.where = self.mean.device
        self.inverter, self.surrogates, self.shrinkage = inverter, surrogates, shrinkage
        self.statistics, self.files = statistics, files
        self._completes: dict[tuple[str, int], Callable[[torch.Tensor], torch.Tensor]] = {}
        self._whitening: dict[int, torch.Tensor] = {}  # by the number of components

    @classmethod
    def load(
        cls,
        network_file: str | os.PathLike,
        layer: str,
        sees: dict,
        priors: Paths = (),
        inverter: Paths = (),
        feature_priors: Paths = (),
        surrogates: Paths = (),
        statistics: Paths = (),
    ) -> Reconstructor:
        """That of a stored classifier, on the first GPU if there is one.

        `priors`: files of the learned priors that the recipe uses, `<prior>.safetensors`, those of feature
        maps in a folder with the name of their layer. `surrogates`: of the recipe's annealing, and its
        shrinkage where it has one.
        """
        where = devices.device()
        learned = by_layer(priors, feature_priors)
        inside = {place for files in learned.values() for place in files if place}
        network = saved.load(network_file, [layer, *sorted(inside - {layer})])
        return cls(
            network.to(where).to(memory_format=torch.channels_last),
            layer,
            sees,
            learned,
            inverter=load_chain(inverter[0]).to(where) if inverter else None,
            surrogates=Surrogates.load(surrogates[0]).to(where) if surrogates else None,
            shrinkage=Shrinkage.load(surrogates[1]).to(where) if surrogates[1:] else None,
            statistics=statistics,
            files=[network_file, *priors, *inverter, *feature_priors, *surrogates, *statistics],
        )

    def reconstruct(
        self,
        recipe: Recipe,
        truth: torch.Tensor,
        names: Sequence[str],
        seed: int,
        checkpoint: Checkpoint,
        watched: bool = True,
    ) -> preimage.Result:
        """Reconstruct `truth`, images N x 3 x H x W in [0, 1], from nothing but their maps.

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
        seconds, image, trace = time.monotonic() - began, predicted, []
        if recipe.anneal:
            begin = self.mean.expand_as(truth) if image is None else image
            own = checkpoint.begun() if recipe.phases else checkpoint
            compared = truth if watched else None
            plan, about = recipe.anneal, (self.learned, self.sees, self.mean, predicted)
            terms = build(plan.priors, *about)
            found = self._anneal(plan, target, names, begin, seed, own, compared, terms)
            image, trace = found.images, [(*row[:3], row[3] + seconds) for row in found.trace]
            seconds += found.seconds
            if self.shrinkage:
                image = self.shrinkage(image)
                if watched:
                    trace[-2:] = _compared(trace[-1][0], truth, image, seconds)
        if not recipe.phases:
            assert image is not None  # a recipe has one of the three
            if not recipe.anneal:
                trace = _compared(0, truth, image, seconds)
            result = preimage.Result(image, trace, seconds)
        else:
            before = gradients(recipe.anneal) if recipe.anneal else 0
            result = preimage.reconstruct(
                self.network,
                DATA_TERMS[recipe.data](self._given(recipe, target, names)),
                names,
                truth.shape[-1],
                self.mean,
                build(recipe.priors, self.learned, self.sees, self.mean, predicted),
                recipe.plan(self.sees),
                seed,
                checkpoint,
                image,
                truth if watched else None,
            )
            result.trace = [
                *trace,
                *((row[0] + before, *row[1:3], row[3] + seconds) for row in result.trace),
            ]
            result.seconds += seconds
        if recipe.extrapolate and (recipe.anneal or recipe.phases):  # what is predicted is complete
            began = time.monotonic()
            result.images = seen.join(lambda part: complete(result.images[part]), count)
            result.seconds += time.monotonic() - began
            if watched:
                after = result.trace[-1][0] + 1
                result.trace += _compared(after, truth, result.images, result.seconds)
        return result

    def _given(self, recipe: Recipe, target: torch.Tensor, names: Sequence[str]) -> Given:
        """What the recipe's data term may refer to."""
        given, most = Given(self.layer, target, names), recipe.components
        if not self.statistics:
            return given
        if most not in self._whitening:  # the trials of a search ask again and again
            self._whitening[most] = channel_whitening(self.layer, self.statistics[0], most)
        return given._replace(whitening=self._whitening[most])

    def _anneal(
        self,
        plan: Annealing,
        target: torch.Tensor,
        names: Sequence[str],
        begin: torch.Tensor,
        seed: int,
        checkpoint: Checkpoint,
        truth: torch.Tensor | None,
        terms: dict[str, preimage.Term],
    ) -> preimage.Result:
        """Images of these maps by annealing, from the images `begin`."""
        prior = annealing.load(self.learned[plan.prior][None]).to(self.where)
        assert self.surrogates is not None  # the rules give a recipe with an annealing its own
        return anneal(
            self.network,
            self.layer,
            prior.denoise,
            self.surrogates,
            plan,
            target,
            names,
            begin,
            seed,
            checkpoint,
            truth,
            terms,
        )

    def _completing(self, recipe: Recipe, size: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """What puts into images what the recipe's prior expects where the layer sees nothing."""
        if not recipe.extrapolate:
            return lambda images: images
        key = (recipe.extrapolate, size)
        if key not in self._completes:  # the trials of a search ask again and again
            prior = load(self.learned[recipe.extrapolate][None])
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


def learn_shrinkage(
    reconstructor: Reconstructor,
    recipe: Recipe,
    pixels: np.ndarray,
    names: Sequence[str],
    seed: int,
    checkpoint: Checkpoint,
) -> Shrinkage:
    """The shrinkage of the recipe's annealing, from images N x H x W x 3 uint8 with their names."""
    truth, mean = as_tensor(pixels).to(reconstructor.where), reconstructor.mean
    alone = replace(recipe, phases=())
    found = reconstructor.reconstruct(alone, truth, names, seed, checkpoint, watched=False)
    return Shrinkage.fit(found.images, truth, mean)


def prepared(inputs, layer: str, settings: dict) -> tuple[Reconstructor, Recipe]:
    """What a job reconstructs a layer with: its `network`, the learned files and the statistics that its
    inputs name, the layer's geometry (`sees`), and the `recipe`, with the values that a search has found, if
    it was searched."""
    keys = ("priors", "feature_priors", "inverter", "surrogates", "statistics")
    files = {key: inputs.get(key, []) for key in keys}
    reconstructor = Reconstructor.load(inputs.network, layer, settings["sees"], **files)
    return reconstructor, Recipe.of(settings["recipe"], inputs.get("found", ()))
