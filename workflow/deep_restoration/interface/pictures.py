"""A user's image, in whatever form it comes, as the tensor that is reconstructed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..data.images import UnusableImage, as_tensor, centre_crop, decode, of_pillow

SIDE = 224  # pixels, of photographs: what most classifiers were trained on
LEAST = 11  # pixels: the window of SSIM
ALLOWED = (
    "a path, a PIL image, an array H x W x 3 (uint8, or floats in [0, 1]), or a tensor "
    "3 x H x W or N x 3 x H x W in [0, 1]"
)


def of_any(image: Any, size: int | None = None) -> torch.Tensor:
    """Images N x 3 x size x size in [0, 1], on the CPU.

    `image`: a path, a PIL image, an array H x W x 3 (uint8, or floats in [0, 1]), or a tensor 3 x H x W or N
    x 3 x H x W in [0, 1]. It is reduced so that its shorter side has `size` pixels, and cropped centrally;
    photographs (paths and PIL images) to 224 pixels by default, arrays and tensors only where `size` is
    given. Raises ValueError for anything else, values out of range, and an image that is smaller than `size`
    or not square.
    """
    if size is not None and size < LEAST:
        raise ValueError(f"size is {size}; it must be at least {LEAST} pixels, the window of SSIM")
    try:
        if isinstance(image, str | os.PathLike):
            if not Path(image).exists():
                raise ValueError(f"there is no image {image}")
            side = size or SIDE
            return as_tensor(np.array(centre_crop(decode(image, side), side))[None])
        if isinstance(image, Image.Image):
            side = size or SIDE
            return as_tensor(np.array(centre_crop(of_pillow(image, side), side))[None])
    except UnusableImage as error:
        which = f"the image {image}" if isinstance(image, str | os.PathLike) else "the image"
        raise ValueError(f"{which} cannot be used: {error}") from None
    return _sized(_tensor(image), size)


def _tensor(image: Any) -> torch.Tensor:
    """N x 3 x H x W in [0, 1] of an array or a tensor."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"the image is an array {_form(image)}; allowed: {ALLOWED}")
        if image.dtype == np.uint8:
            return as_tensor(np.array(image)[None])
        if image.dtype.kind != "f":
            raise ValueError(f"the image is an array of {image.dtype}; allowed: {ALLOWED}")
        image = torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)
    if not isinstance(image, torch.Tensor):
        raise ValueError(f"the image is of type {type(image).__name__}; allowed: {ALLOWED}")
    images = image[None] if image.ndim == 3 else image
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"the image is a tensor {_form(image)}; allowed: {ALLOWED}")
    if not images.is_floating_point():
        raise ValueError(f"the image is a tensor of {image.dtype}; divide by 255: {ALLOWED}")
    images = images.detach().to("cpu", torch.float32, copy=True)
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):  # nor NaN
        raise ValueError(
            f"the image has values from {low:.4g} to {high:.4g}; they must be in [0, 1], not normalised "
            "(mean and std are arguments of their own)"
        )
    return images


def _sized(images: torch.Tensor, size: int | None) -> torch.Tensor:
    height, width = images.shape[2:]
    if size is None:
        if height != width:
            raise ValueError(f"the image has {height} x {width} pixels; give size to crop a square")
        if height < LEAST:
            raise ValueError(
                f"the image has {height} x {width} pixels; it must have {LEAST} a side"
            )
        return images
    if min(height, width) < size:
        raise ValueError(
            f"the image has {height} x {width} pixels; size is {size}, which needs more"
        )
    if min(height, width) > size:
        scale = size / min(height, width)
        shape = max(size, round(height * scale)), max(size, round(width * scale))
        images = F.interpolate(images, size=shape, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[..., top : top + size, left : left + size].contiguous()


def _form(thing: Any) -> str:
    return " x ".join(map(str, thing.shape)) or "without dimensions"
