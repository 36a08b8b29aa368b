"""Independent streams of random numbers, by the names of what they are for."""

from __future__ import annotations

import hashlib
import json


def seed_of(seed: int, *names: object) -> int:
    """A 63-bit seed from the study's seed and the names of what it is for.

    Streams with different names are independent, and a stream depends on nothing but its names:
    an image's start noise is the same whatever other images are in the batch.
    """
    text = json.dumps([seed, *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object):
    """A CPU torch.Generator seeded by `seed_of`, so that every device draws the same numbers."""
    import torch

    return torch.Generator().manual_seed(seed_of(seed, *names))


def noise_like(images, seed: int, streams):
    """Standard normal noise for images N x ..., in their precision and on their device: of each from a stream
    of its own, whose names are in `streams`. Raises ValueError for more or fewer streams than images."""
    import torch

    drawn = [
        torch.randn(image.shape, generator=generator(seed, *names))
        for names, image in zip(streams, images, strict=True)
    ]
    return torch.stack(drawn).to(images)
