"""Any module as a network whose layer is read by a hook: nothing is traced, and nothing of it is changed.

`Hooked` has the interface of `networks.graph.Network`, so that whatever inverts a stored classifier inverts
the user's own model, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from ..networks.receptive_fields import touched
from ..study.wording import nearest

PROBES = 2  # images of noise: a unit that one of them leaves silent, another may excite
COARSEST = 32  # pixels: the stride of the last maps of nearly every classifier, taken where there is no map
DEEP = 163  # pixels: recipes tell no larger receptive fields apart (`mahendran_vedaldi.by_depth`)


class _Reached(BaseException):
    """Ends a forward pass. No Exception, because models may catch these."""

    def __init__(self, output: object):
        self.output = output


@contextmanager
def lent(model: nn.Module) -> Iterator[None]:
    """A block in which the model is frozen and in evaluation mode, and after which it is as it was."""
    training = [(module, module.training) for module in model.modules()]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        model.eval()
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, flag in training:
            module.training = flag
        for parameter in learning:
            parameter.requires_grad_(True)


class Hooked(nn.Module):
    """The maps of one layer of a model that takes normalised images N x 3 x H x W.

    Takes images in [0, 1] on the model's device; returns {layer: maps, N x ..., in float32}. `layer` is the
    path of a module, as `print(model)` and `model.named_modules()` show it; "" is the model itself. The
    forward pass ends when this module has given its value, so that the rest costs nothing, and operations in
    place after it change nothing. Of a module that is called several times in a pass the last value counts;
    of a tuple, list or dictionary the first entry. `mean` and `std` of the colours: 1 x 3 x 1 x 1.

    Use it inside of `lent`. Raises ValueError for a layer that is not there, is not called, or gives no maps;
    what the model itself raises before the layer is the caller's.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        mean: Sequence[float],
        std: Sequence[float],
        size: int,
    ):
        super().__init__()
        known = dict(model.named_modules(remove_duplicate=False))  # every name of it
        if layer not in known:
            names = [name for name in known if name]
            raise ValueError(f"the model has no layer {layer!r}; nearest: {nearest(layer, names)}")
        self.model, self.layer = model, layer
        tensors = [*model.parameters(), *model.buffers()]
        floats = [tensor for tensor in tensors if tensor.is_floating_point()]
        self.dtype = floats[0].dtype if floats else torch.float32
        where = tensors[0].device if tensors else torch.device("cpu")
        for name, colour in (("mean", mean), ("std", std)):
            values = torch.tensor(colour, dtype=torch.float32, device=where).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        with torch.no_grad():
            self.calls = self._count(self.mean.expand(1, 3, size, size))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        count = 0

        def stop(module: nn.Module, arguments: tuple, output: object) -> None:
            nonlocal count
            count += 1
            if count == self.calls:
                raise _Reached(output)

        handle = self.model.get_submodule(self.layer).register_forward_hook(stop)
        try:
            self.model(self._normalised(images))
        except _Reached as reached:
            return {self.layer: self._maps(reached.output, len(images))}
        finally:
            handle.remove()
        raise ValueError(f"the model did not call its layer {self.layer!r} as often as before")

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        standard = torch.addcmul(-self.mean / self.std, images, 1 / self.std)
        # With channels last convolutions are faster, whatever the layout of their weights.
        return standard.to(self.dtype).contiguous(memory_format=torch.channels_last)

    def _count(self, image: torch.Tensor) -> int:
        """How often the layer is called in a whole forward pass."""
        calls = []
        module = self.model.get_submodule(self.layer)
        handle = module.register_forward_hook(lambda *given: calls.append(1))
        try:
            self.model(self._normalised(image))
        except Exception:
            if not calls:  # what fails after the layer does not matter
                raise
        finally:
            handle.remove()
        if not calls:
            raise ValueError(
                f"the model does not call its layer {self.layer!r} when it is given an image: take one that "
                "its forward pass goes through"
            )
        return len(calls)

    def _maps(self, output: object, count: int) -> torch.Tensor:
        found = output
        if isinstance(found, dict):
            found = next(iter(found.values()), None)
        elif isinstance(found, tuple | list):
            found = found[0] if found else None
        if not isinstance(found, torch.Tensor) or not found.is_floating_point():
            kind = (
                type(found).__name__ if found is output else f"{type(output).__name__} without one"
            )
            raise ValueError(
                f"the layer {self.layer!r} gives no tensor of numbers but a {kind}: take a layer that gives "
                "one, or a tuple, list or dictionary whose first entry is one"
            )
        if found.ndim < 2 or len(found) != count:
            raise ValueError(
                f"the layer {self.layer!r} gives {list(found.shape)} for {count} images: its first dimension "
                "must be that of the images, which are reconstructed one by one"
            )
        return found.float().to(self.mean.device)  # of a model that lies on several devices


def geometry(network: Hooked, size: int) -> dict:
    """`stride` and `receptive_field` of the layer, as `networks.receptive_fields.of_layers` has them.

    The stride is the image's side by the map's. The receptive field is measured: the side of the square of
    pixels on which the unit in the middle of the map depends, by the gradients of images of noise. Where
    the edge of the image cuts it off, a larger image is asked, until it is known or at least 163 pixels,
    which is all that recipes distinguish. None, the whole image, for vectors and tokens, whose stride is
    taken to be 32, and where the model takes no larger image.
    """
    with torch.no_grad():
        shape = network(network.mean.expand(1, 3, size, size))[network.layer].shape
    if not _is_map(shape):
        return {"stride": COARSEST, "receptive_field": None}
    stride = size / shape[2]
    (field, cut), side = _measured(network, size), size
    while cut and field < DEEP:
        side *= 2
        try:
            field, cut = _measured(network, side)
        except (RuntimeError, ValueError, AssertionError):  # of a model of one size
            return {"stride": stride, "receptive_field": None}
    return {"stride": stride, "receptive_field": field}


def _is_map(shape: torch.Size) -> bool:
    """Whether maps are N x C x H x W of several positions: square, because the image is."""
    return len(shape) == 4 and shape[2] == shape[3] > 1


def _measured(network: Hooked, size: int) -> tuple[int, bool]:
    """The side in pixels of what the middle unit depends on, and whether the image's edge cuts it off."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand(PROBES, 3, size, size, generator=draw).to(network.mean.device)
    noise.requires_grad_()
    with torch.enable_grad():
        maps = network(noise)[network.layer]
        unit = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
        weights = torch.rand(unit.shape, generator=draw).to(unit) + 0.5  # nothing cancels exactly
        (gradient,) = torch.autograd.grad((unit * weights).sum(), noise)
    places = touched(gradient)
    if not all(places):  # silent in all of them: nothing is known
        return size, False
    first, last = min(found[0] for found in places), max(found[-1] for found in places)
    field = max(found[-1] - found[0] + 1 for found in places)
    return field, first == 0 or last == size - 1
