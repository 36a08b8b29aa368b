"""What priors of feature maps add to a recipe: one after the other, in three orders.

From the layer next to the one to reconstruct from towards the image (`deep`), from the image towards it
(`shallow`), and always the one that helps most (`greedy`). Weights and the greedy choice are decided
on held-out training images, what they are worth is measured on test images.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..data import splits
from ..data.images import as_pixels, as_tensor
from ..evaluation import intervals, metrics
from ..files.hdf5 import open_hdf5, write_array
from ..runtime.checkpoints import Checkpoint
from ..runtime.errors import DivergedError
from ..runtime.memo import Memo

log = logging.getLogger(__name__)
BATCH = 64  # images reconstructed at once
ORDERS = ("deep", "shallow", "greedy")
MEASURES = ("mse", "psnr", "ssim", "representation_error")
TRIALS = ("set", "images", "image", *MEASURES, "seconds")
Weights = dict[str, float]  # of the priors added, by layer
Found = dict[str, list[float]]  # a measure of every image


class Step(NamedTuple):
    """A set of priors: `layer` and its `weight` were added last (None, 0: the recipe as it is)."""

    layer: str | None
    weight: float
    chosen: Weights
    score: float


def name_of(chosen: Weights) -> str:
    """The same name for the same set, whichever came first: `conv1=0.001 conv2=0.01`, or `none`."""
    return " ".join(f"{layer}={chosen[layer]!r}" for layer in sorted(chosen)) or "none"


def add(
    candidates: Sequence[str], weights: Sequence[float], score: Callable[[Weights], float]
) -> dict[str, list[Step]]:
    """The steps of each of ORDERS, the first of them without any prior, the last with all.

    `candidates` are layers, shallow to deep. `score` is what a set of priors is judged by, less is better;
    it is asked for the same set more than once. Of each addition all `weights` are tried and the best
    is kept, also where it is worse than no addition, so that the steps show what each prior does. An
    order ends where every further set diverges.
    """
    result = {}
    for order in ORDERS:
        steps = [Step(None, 0.0, {}, score({}))]
        while len(steps) <= len(candidates):
            before = steps[-1].chosen
            left = [layer for layer in candidates if layer not in before]
            tried = []
            for layer in {"deep": left[-1:], "shallow": left[:1], "greedy": left}[order]:
                for weight in weights:
                    chosen = before | {layer: weight}
                    tried.append(Step(layer, weight, chosen, score(chosen)))
            best = min(tried, key=lambda step: step.score)
            if not math.isfinite(best.score):
                break
            steps.append(best)
        result[order] = steps
    return result


def measure(network, layer: str, truth, reconstructed) -> Found:
    """MEASURES of every image, of images N x 3 x H x W in [0, 1] on the network's device."""
    import torch

    with torch.inference_mode():
        target, maps = network(truth)[layer], network(reconstructed)[layer]
    arrays = [as_pixels(batch) for batch in (truth, reconstructed)]
    found = [measured(*arrays).tolist() for measured in (metrics.mse, metrics.psnr, metrics.ssim)]
    found.append(metrics.representation_error(maps, target).tolist())
    return dict(zip(MEASURES, found, strict=True))


class Trials:
    """Reconstructions with sets of priors of feature maps, each done and measured once.

    `reconstructor` is a Reconstructor that has read the `prior` of every candidate layer; `images` are
    names and pixels (N x H x W x 3, uint8) of the sets of images `held_out` and `test`. What was found
    lies in `done`. A set with which the optimisation diverges has nan throughout.
    """

    def __init__(self, reconstructor, recipe, prior: str, images: dict, seed: int, done: Memo):
        self.reconstructor, self.recipe, self.prior = reconstructor, recipe, prior
        self.images, self.seed, self.done = images, seed, done
        self.pictures: dict[str, np.ndarray] = {}
        self.found: dict[str, dict[str, Found]] = {name: {} for name in images}

    def __call__(self, which: str, chosen: Weights) -> Found:
        """MEASURES and seconds of every image of a set, reconstructed with these priors."""
        name = name_of(chosen)
        if name not in self.found[which]:
            names, pixels = self.images[which]
            found: Found = {measure: [] for measure in (*MEASURES, "seconds")}
            for first in range(0, len(names), BATCH):
                part = slice(first, first + BATCH)
                picture, facts = self.done(
                    f"{which} from {first}, {name}",
                    lambda own, part=part: self._reconstruct(
                        names[part], pixels[part], chosen, own
                    ),
                )
                for measure, values in facts.items():
                    found[measure] += values
                if which == "test" and first == 0:
                    self.pictures[name] = picture.permute(1, 2, 0).numpy()
            self.found[which][name] = found
        return self.found[which][name]

    def score(self, chosen: Weights) -> float:
        """Mean squared error of the held-out images; infinite where the optimisation diverged."""
        error = float(np.mean(self("held_out", chosen)["mse"]))
        return error if math.isfinite(error) else math.inf

    def _reconstruct(self, names, pixels, chosen: Weights, checkpoint: Checkpoint) -> tuple:
        """The first image, 3 x H x W, and the measures of all."""
        truth, recipe = as_tensor(pixels), self.recipe.with_prior(self.prior, chosen)
        try:
            result = self.reconstructor.reconstruct(
                recipe, truth, names, self.seed, checkpoint, watched=False
            )
        except DivergedError as error:
            if not chosen:
                raise
            log.info("%s: %s", name_of(chosen), error)
            lost = [math.nan] * len(names)
            return truth[0] * math.nan, dict.fromkeys((*MEASURES, "seconds"), lost)
        where = self.reconstructor.where
        found = measure(
            self.reconstructor.network,
            self.reconstructor.layer,
            truth.to(where),
            result.images.to(where),
        )
        found["seconds"] = [result.seconds / len(names)] * len(names)
        return result.images[0].cpu(), found

    def guessed(self, guess: np.ndarray) -> dict[str, Found]:
        """A baseline, H x W x 3, measured as if it had been reconstructed, by set of images."""
        import torch

        result, where = {}, self.reconstructor.where
        picture = torch.from_numpy(guess).permute(2, 0, 1).to(where)
        for which, (names, pixels) in self.images.items():
            found: Found = {name: [] for name in MEASURES}
            for first in range(0, len(names), BATCH):
                truth = as_tensor(pixels[first : first + BATCH]).to(where)
                images = picture.expand_as(truth)
                part = measure(self.reconstructor.network, self.reconstructor.layer, truth, images)
                for name in MEASURES:
                    found[name] += part[name]
            result[which] = found | {"seconds": [0.0] * len(names)}
        return result

    def rows(self) -> list[tuple]:
        """Rows of TRIALS: one per set tried and image."""
        return [
            (name, which, image, *values)
            for which, sets in self.found.items()
            for name, found in sets.items()
            for image, *values in zip(self.images[which][0], *found.values(), strict=True)
        ]


def read_sets(
    held_out: str | os.PathLike, test: str | os.PathLike, counts: dict, share: float
) -> dict[str, tuple[list[str], np.ndarray]]:
    """Names and pixels of the sets of images: of those held out of the training images in a file, a `share`
    of them, as many as `counts` has under `images`, and of the test images as many as under `test`."""
    with open_hdf5(held_out, "images") as file:
        asked = splits.some(file, counts["images"], share)
    with open_hdf5(test, "images") as file:
        return {"held_out": asked, "test": splits.some(file, counts["test"])}


def write_pictures(file, pictures: dict[str, np.ndarray], original: np.ndarray) -> None:
    """Write what the sets of priors make of the first test image, H x W x 3 by the name of the set, and the
    `original`, 1 x H x W x 3 uint8, into an open file."""
    file.attrs["sets"] = list(pictures)
    reconstructed = np.stack(list(pictures.values())).astype(np.float32)
    write_array(
        file,
        "reconstructed",
        reconstructed,
        "sRGB, 0..1, sets x H x W x 3, of the first test image",
    )
    write_array(file, "original", original, "sRGB, 0..255, 1 x H x W x 3")


COLUMNS = (
    *("classifier", "layer", "order", "step", "added", "weight", "set", "best"),
    *("held_out_images", "held_out_mse", "held_out_ssim", "images", "photographs"),
    *(f"{measure}{end}" for measure in MEASURES for end in ("", "_low", "_high")),
    *(f"mse_ratio{end}" for end in ("", "_low", "_high")),
    *(f"{measure}_difference{end}" for measure in MEASURES[1:3] for end in ("", "_low", "_high")),
    *(f"representation_error_ratio{end}" for end in ("", "_low", "_high")),
    *("seconds", "note"),
)


def summarise(
    orders: dict[str, list[Step]],
    held_out: dict[str, Found],
    test: dict[str, Found],
    names: Sequence[str],
    seed: int,
    guesses: dict[str, dict[str, Found]],
) -> list[list]:
    """Rows of COLUMNS without classifier and layer: one row per step, first those of the baselines.

    `held_out` and `test` hold what was measured of the sets, by `name_of`; `names` are those of the test
    images. `guesses` hold the same of each baseline by set of images; a baseline has one row, as an
    order without steps. Ratios and differences compare the same images with and without the priors, with 95 %
    bootstrap intervals over photographs. `best` is 1 at the step of an order with the least error on held-out
    images. A set that diverged on the test images has nan, and no ratios.
    """
    base = {m: np.array(test[name_of({})][m]) for m in MEASURES}

    def with_limits(values: np.ndarray) -> list:
        limits = intervals.bootstrap_interval(values, names, seed)
        return [float(values.mean()), *intervals.cells(limits)]

    def ratio(measure: str, found: dict[str, np.ndarray]) -> list:
        values = intervals.ratio_interval(found[measure], base[measure], names, seed)
        return intervals.cells(values)

    def row(asked: Found, tested: Found) -> list:
        """The columns after `best`."""
        found = {m: np.array(tested[m]) for m in MEASURES}
        line: list = [
            len(asked["mse"]),
            float(np.mean(asked["mse"])),
            float(np.mean(asked["ssim"])),
        ]
        line += [len(names), intervals.photographs(names)]
        for values in found.values():
            line += with_limits(values)
        line += ratio("mse", found)
        for m in MEASURES[1:3]:
            line += with_limits(found[m] - base[m])
        line += ratio("representation_error", found)
        return [*line, float(np.mean(tested["seconds"])), intervals.note(names)]

    rows = []
    for name, sets in guesses.items():
        rows.append([name, 0, "none", 0.0, "", 0, *row(sets["held_out"], sets["test"])])
    for order, steps in orders.items():
        best = min(range(len(steps)), key=lambda index: steps[index].score)
        for index, step in enumerate(steps):
            chosen = name_of(step.chosen)
            facts = (order, index, step.layer or "none", step.weight, chosen, int(index == best))
            rows.append([*facts, *row(held_out[chosen], test[chosen])])
    return rows


def tested(
    trials: Trials, orders: dict[str, list[Step]], guesses: dict[str, np.ndarray]
) -> list[list]:
    """Measure every step of `orders` and baselines, H x W x 3 by name, on the test images: the rows of
    `summarise`."""
    for steps in orders.values():
        for step in steps:
            trials("test", step.chosen)
    guessed = {name: trials.guessed(guess) for name, guess in guesses.items()}
    names, found = trials.images["test"][0], trials.found
    return summarise(orders, found["held_out"], found["test"], names, trials.seed, guessed)
