"""One photograph reconstructed from one layer of any network, in one call."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..data.images import as_pixels
from ..evaluation import metrics
from ..files.atomic import atomic
from ..inversion.recipe import Recipe
from ..inversion.reconstructor import Reconstructor
from ..inversion.schedules import Phase
from ..networks.sources import IMAGENET_MEAN, IMAGENET_STD
from ..priors.registry import load
from ..runtime.checkpoints import Checkpoint
from . import pictures
from .hooked import Hooked, geometry, lent
from .recipes import Files, chosen

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inverted:
    """What a layer keeps of images, and how much that is.

    images: N x 3 x H x W in [0, 1], reconstructed. truth: the originals, likewise, on the CPU as these.
    layer: its name. trace: rows (iteration, term, mean over images, seconds); terms are the objective
    (`total`), its parts, and if it was watched, `image` and `ssim`, the distance from the truth. per_image:
    for each image its mse, psnr (dB), ssim, and representation_error (squared error of the layer's maps by
    the target's square: 0 for equal maps). seconds: those of the reconstruction.
    """

    images: torch.Tensor
    truth: torch.Tensor
    layer: str
    trace: list[tuple]
    per_image: tuple[dict[str, float], ...]
    seconds: float

    @property
    def measures(self) -> dict[str, float]:
        """The measures of `per_image`, means over all images."""
        names = self.per_image[0]
        return {name: float(np.mean([one[name] for one in self.per_image])) for name in names}

    @property
    def image(self) -> Image.Image:
        """The first reconstructed image."""
        return picture(self.images[0])

    def save(self, path: str | os.PathLike) -> None:
        """Write the first image as a PNG, or what the file's name says."""
        write(self.image, path)


def invert(
    model: nn.Module,
    layer: str,
    image: Any,
    recipe: str | dict = "tv",
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    size: int | None = None,
    priors: Files | None = None,
    iterations: int | None = None,
    seed: int = 0,
    watched: bool = True,
) -> Inverted:
    """What a layer of a model keeps of an image: an image with the same maps there, found from these alone.

    `model`: any module that takes a batch of normalised images N x 3 x H x W, on the device where it is; it
    is left as it was. `layer`: the path of one of its modules, as `print(model)` shows it (see `Hooked`).
    `image`: a path, a PIL image, an array H x W x 3 (uint8, or floats in [0, 1]), or a tensor 3 x H x W or N
    x 3 x H x W in [0, 1]. `recipe`: a name of `recipes()`, or a dictionary in the configuration's format.
    `mean`, `std`: the colours by which images are normalised for the model. `size`: the side of the square
    image; photographs have 224 pixels by default, arrays and tensors keep theirs. `priors`: files of the
    learned priors of a recipe that has some, a folder of `<name>.safetensors` or a dictionary of files by
    name. `iterations`: of the whole recipe in place of its own number, its phases in proportion. `seed`: of
    the start noise. `watched`: whether the trace compares the images with the truth on the way.

    Raises ValueError for what cannot be, with what can; DivergedError where the optimisation diverges.
    """
    entry, files = chosen(recipe, priors)
    # Whatever the caller's context: gradients are what it is about.
    with torch.inference_mode(False), torch.enable_grad(), lent(model):
        truth = pictures.of_any(image, size)
        network = Hooked(model, layer, mean, std, truth.shape[-1])
        sees = geometry(network, truth.shape[-1])
        return of_network(
            network,
            layer,
            sees,
            truth,
            entry,
            files,
            iterations=iterations,
            seed=seed,
            watched=watched,
        )


def of_network(
    network: nn.Module,
    layer: str,
    sees: dict,
    truth: torch.Tensor,
    entry: dict,
    files: dict,
    *,
    iterations: int | None = None,
    seed: int = 0,
    watched: bool = True,
) -> Inverted:
    """Invert a layer of a network with the interface of `networks.graph.Network`; `sees`: its stride and
    receptive field; `entry` and `files`: of `chosen`. The others are as of `invert`."""
    for path in files.values():
        if (channels := load(path).channels) != 3:
            raise ValueError(
                f"{path} holds no prior of colour images, but one of {channels} channels; give one that was "
                "trained on colour images"
            )
    plan = Recipe.of(entry) if iterations is None else lasting(Recipe.of(entry), iterations)
    learned = {name: {None: path} for name, path in files.items()}
    reconstructor = Reconstructor(network, layer, sees, learned)
    names = [f"image {number}" for number in range(len(truth))]
    never = Checkpoint(os.devnull, None, math.inf)
    found = reconstructor.reconstruct(plan, truth, names, seed, never, watched)
    per_image = measured(network, layer, truth, found.images)
    images = found.images.detach().cpu().contiguous()
    return Inverted(images, truth, layer, found.trace, per_image, found.seconds)


def lasting(recipe: Recipe, iterations: int) -> Recipe:
    """The recipe with so many iterations in all, its phases and their warm-ups in proportion."""
    if iterations < len(recipe.phases):
        raise ValueError(
            f"iterations is {iterations}; it must be at least {len(recipe.phases)}, one for each phase"
        )
    share = iterations / sum(phase.iterations for phase in recipe.phases)
    phases: list[Phase] = []
    done = before = 0
    for number, phase in enumerate(recipe.phases, 1):
        before += phase.iterations
        behind = len(recipe.phases) - number  # phases that need one each
        end = min(max(round(share * before), done + 1), iterations - behind)
        warmup = min(round(share * phase.warmup), end - done)
        phases.append(replace(phase, iterations=end - done, warmup=warmup))
        done = end
    return replace(recipe, phases=tuple(phases))


def measured(
    network: nn.Module, layer: str, truth: torch.Tensor, images: torch.Tensor
) -> tuple[dict[str, float], ...]:
    """The measures of `Inverted.per_image`; `truth` on any device, the images on the network's."""
    with torch.no_grad():
        target = network(truth.to(images.device))[layer]
        errors = metrics.representation_error(network(images)[layer], target)
    original, reconstructed = as_pixels(truth), as_pixels(images)
    columns = {
        "mse": metrics.mse(original, reconstructed),
        "psnr": metrics.psnr(original, reconstructed),
        "ssim": metrics.ssim(original, reconstructed),
        "representation_error": errors.cpu().numpy(),
    }
    return tuple(
        {name: float(values[number]) for name, values in columns.items()}
        for number in range(len(images))
    )


def picture(image: torch.Tensor) -> Image.Image:
    """A PIL image of a tensor 3 x H x W in [0, 1]."""
    return Image.fromarray((255 * image.permute(1, 2, 0)).round().byte().cpu().numpy())


def write(image: Image.Image, path: str | os.PathLike) -> None:
    """Write an image whole or not at all, in the format that the name says, or else as a PNG."""
    kind = format_of(path)
    with atomic(path) as temporary:
        image.save(temporary, kind)


def format_of(path: str | os.PathLike) -> str:
    """Pillow's name of the format that a file's name says. Raises ValueError for one that holds no images."""
    suffix = os.path.splitext(path)[1].lower()
    if not suffix:
        return "PNG"
    kind = Image.registered_extensions().get(suffix)
    if kind not in Image.SAVE:
        raise ValueError(f"no image can be written as {path}; name it .png")
    return kind
