"""The best linear inverse of a convolution, and how far it is from being a convolution itself.

Maps y = W x + noise of variance 1/lambda, x from a stationary Gaussian prior of covariance Sigma: the
most probable x, which is also the least-squares linear estimate, is (the study's eq. 2)

    f = (Sigma^-1 / lambda + W' W)^-1 W' y  =  Sigma W' (W Sigma W' + I / lambda)^-1 y.

`docs/theory.md` derives what is computed here: on a periodic image it is s^2 interleaved convolutions
(s the stride), one transposed convolution; edges add a correction that decays inwards. All
arrays are float64 tensors; images are around their mean, N x C x H x W; kernels are K x C x k x k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch.nn import functional as F
from torch.nn import grad

# Annotated, because its types are inferred from its defaults: numbers, although it takes pairs, too.
_conv2d_input: Callable[..., torch.Tensor] = grad.conv2d_input
MOST_ENTRIES = 50_000_000  # complex numbers in a preconditioner
Shapes = tuple[tuple[int, int], tuple[int, int]]  # of an image (H, W) and of its maps (H', W')


# ------------------------------------------------------------------------------ the convolution
@dataclass(frozen=True)
class Convolution:
    """A linear convolution (a cross-correlation, as in torch), with edges padded by zeros or periodic.

    `weight` is K x C/groups x kh x kw. A periodic one reads the image round its edges; the image's
    sides must then be multiples of the stride.
    """

    weight: torch.Tensor
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    periodic: bool = False

    @classmethod
    def of(cls, module: torch.nn.Conv2d) -> Convolution:
        """The linear part of a layer. Raises ValueError for padding other than zeros."""
        if module.padding_mode != "zeros" or isinstance(module.padding, str):
            raise ValueError(
                f"a convolution with padding {module.padding!r}, mode {module.padding_mode!r}, is not "
                "handled; it must pad a fixed number of zeros"
            )
        return cls(
            module.weight.detach().double(),
            _pair(module.stride),
            _pair(module.padding),
            _pair(module.dilation),
            module.groups,
        )

    def to(self, device: torch.device) -> Convolution:
        return replace(self, weight=self.weight.to(device))

    @property
    def channels(self) -> int:
        return self.weight.shape[1] * self.groups

    @property
    def span(self) -> tuple[int, int]:
        """Rows and columns of the image that one output sees."""
        sides = zip(self.weight.shape[2:], self.dilation, strict=True)
        rows, columns = ((side - 1) * dilation + 1 for side, dilation in sides)
        return rows, columns

    def dense_weight(self) -> torch.Tensor:
        """K x C x kh x kw, zeros between groups."""
        if self.groups == 1:
            return self.weight
        outputs, inputs, *kernel = self.weight.shape
        full = self.weight.new_zeros(outputs, self.channels, *kernel)
        for group, part in enumerate(self.weight.chunk(self.groups)):
            rows = slice(group * len(part), (group + 1) * len(part))
            full[rows, group * inputs : (group + 1) * inputs] = part
        return full

    def output_shape(self, height: int, width: int) -> tuple[int, int]:
        if self.periodic:
            return height // self.stride[0], width // self.stride[1]
        rows, columns = (
            (side + 2 * pad - span) // stride + 1
            for side, pad, span, stride in zip(
                (height, width), self.padding, self.span, self.stride, strict=True
            )
        )
        return rows, columns

    def _round(self, side: int, axis: int) -> torch.Tensor:
        """Which row (column) of the image each row of the periodically padded one is."""
        positions = torch.arange(side + self.span[axis] - 1, device=self.weight.device)
        return (positions - self.padding[axis]) % side

    def _check_periodic(self, height: int, width: int) -> None:
        if height % self.stride[0] or width % self.stride[1]:
            raise ValueError(
                f"a periodic image of {height} x {width} is no multiple of the stride {self.stride}"
            )

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """N x C x H x W -> N x K x H' x W'."""
        padding: tuple[int, int] = self.padding
        if self.periodic:
            height, width = images.shape[2:]
            self._check_periodic(height, width)
            images = images[:, :, self._round(height, 0)][:, :, :, self._round(width, 1)]
            padding = (0, 0)
        return F.conv2d(images, self.weight, None, self.stride, padding, self.dilation, self.groups)

    def adjoint(self, maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """W' y: N x K x H' x W' -> N x C x height x width."""
        padding: tuple[int, int] = self.padding
        rows, columns = height, width
        if self.periodic:
            self._check_periodic(height, width)
            rows, columns = height + self.span[0] - 1, width + self.span[1] - 1
            padding = (0, 0)
        shape = (len(maps), self.channels, rows, columns)
        images = _conv2d_input(
            shape, self.weight, maps, self.stride, padding, self.dilation, self.groups
        )
        if self.periodic:
            tall = images.new_zeros(len(maps), self.channels, height, columns)
            tall.index_add_(2, self._round(height, 0), images)
            images = images.new_zeros(len(maps), self.channels, height, width)
            images.index_add_(3, self._round(width, 1), tall)
        return images

    def matrix(self, height: int, width: int) -> torch.Tensor:
        """W as a dense (K H' W') x (C height width) matrix, both sides C-major."""
        size = self.channels * height * width
        basis = torch.eye(size, dtype=self.weight.dtype, device=self.weight.device)
        return self(basis.view(size, self.channels, height, width)).flatten(1).T.contiguous()

    def symbol(self, height: int, width: int) -> torch.Tensor:
        """The periodic convolution in the Fourier domain, M x K x (C s^2), M = height width / s^2.

        Row m holds the transfer functions at the s^2 frequencies that the stride folds onto m:
        y^(m) = symbol(m) x^(aliases of m) / s^2, and W' is symbol(m)^H.
        """
        self._check_periodic(height, width)
        weight = self.dense_weight()
        waves = []
        for axis, side in enumerate((height, width)):
            taps = torch.arange(weight.shape[2 + axis], device=weight.device)
            places = (taps * self.dilation[axis] - self.padding[axis]).double()
            angle = 2 * math.pi / side * torch.arange(side, device=weight.device).double()
            waves.append(torch.exp(1j * torch.outer(angle, places)))
        transfer = torch.einsum("ya,xb,kcab->yxkc", *waves, weight.to(waves[0].dtype))
        return fold(transfer, self.stride).permute(0, 2, 1, 3).flatten(2)


def fold(spectrum: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    """H x W x ... -> M x s^2 x ...: frequencies that a stride makes indistinguishable side by side."""
    (height, width), rest = spectrum.shape[:2], spectrum.shape[2:]
    rows, columns = height // stride[0], width // stride[1]
    parts = spectrum.reshape(stride[0], rows, stride[1], columns, *rest)
    parts = parts.permute(1, 3, 0, 2, *range(4, parts.ndim))
    return parts.reshape(rows * columns, stride[0] * stride[1], *rest)


def unfold(folded: torch.Tensor, stride: tuple[int, int], height: int, width: int) -> torch.Tensor:
    """The inverse of `fold`."""
    rows, columns, rest = height // stride[0], width // stride[1], folded.shape[2:]
    parts = folded.reshape(rows, columns, *stride, *rest)
    parts = parts.permute(2, 0, 3, 1, *range(4, parts.ndim))
    return parts.reshape(height, width, *rest)


# ------------------------------------------------------------------------------ the prior
@dataclass(frozen=True)
class StationaryPrior:
    """A stationary Gaussian field: mean (C), and autocovariance R[dy + c - 1, dx + c - 1], C x C, of
    x(p) with x(p + d), for displacements below c; beyond them it is 0."""

    mean: torch.Tensor
    autocovariance: torch.Tensor

    @classmethod
    def white(cls, channels: int, variance: float = 1.0) -> StationaryPrior:
        """Independent values: with it eq. (2) is ridge regression, and without noise the pseudo-inverse."""
        covariance = variance * torch.eye(channels, dtype=torch.float64)
        return cls(torch.zeros(channels, dtype=torch.float64), covariance[None, None])

    @classmethod
    def fit(
        cls, images: Sequence[torch.Tensor], window: int, floor: float = 1e-6
    ) -> StationaryPrior:
        """Welch's method: windows of `window` pixels per side, half overlapping, under a Hann taper.

        `images` are batches N x C x H x W, gone through twice, first for the mean. The taper
        makes the spectrum positive and keeps edges out of it; it draws the covariance at displacement d
        towards 0 as d nears `window`. `floor` is a variance added to each value, by default about
        that of rounding to 8 bits.
        """
        total, count = torch.zeros((), dtype=torch.float64), 0
        for batch in images:
            total = total + batch.double().sum((0, 2, 3))
            count += batch[:, 0].numel()
        if not count:
            raise ValueError("a prior needs images")
        mean = total / count
        taper = torch.hann_window(window + 2, False, dtype=torch.float64, device=mean.device)
        taper = taper[1:-1]
        taper = torch.outer(taper, taper)
        power, pieces, side = torch.zeros((), dtype=torch.complex128), 0, 2 * window
        for batch in images:
            centred = batch.double() - mean[:, None, None]
            steps = [range(0, s - window + 1, max(1, window // 2)) for s in batch.shape[2:]]
            for top in steps[0]:
                for left in steps[1]:
                    part = centred[:, :, top : top + window, left : left + window] * taper
                    waves = torch.fft.fft2(part, (side, side))
                    power = power + torch.einsum("niyx,njyx->yxij", waves.conj(), waves)
                    pieces += len(batch)
        if not pieces:
            raise ValueError(f"the images are smaller than a window of {window} pixels")
        covariance = torch.fft.ifft2(power, dim=(0, 1)).real / (pieces * taper.square().sum())
        covariance = covariance.roll((window - 1, window - 1), (0, 1))[: side - 1, : side - 1]
        covariance = covariance.contiguous()
        covariance[window - 1, window - 1] += floor * torch.eye(len(mean)).to(covariance)
        return cls(mean, covariance)

    def to(self, device: torch.device) -> StationaryPrior:
        return StationaryPrior(self.mean.to(device), self.autocovariance.to(device))

    @property
    def channels(self) -> int:
        return self.autocovariance.shape[2]

    @property
    def reach(self) -> int:
        """Smallest displacement at which the covariance is 0."""
        return (self.autocovariance.shape[0] + 1) // 2

    @property
    def variance(self) -> torch.Tensor:
        """C x C covariance of the channels at a position."""
        return self.autocovariance[self.reach - 1, self.reach - 1]

    def at(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Covariances at displacements (rows, columns), any shape -> ... x C x C, 0 beyond the reach."""
        far = self.reach - 1
        known = (rows.abs() <= far) & (columns.abs() <= far)
        found = self.autocovariance[rows.clamp(-far, far) + far, columns.clamp(-far, far) + far]
        return found * known[..., None, None]

    def wrapped(self, height: int, width: int) -> torch.Tensor:
        """The autocovariance of the field laid round a torus: height x width x C x C, d = 0 first.

        All displacements that the torus makes equal add up, which keeps the spectrum positive.
        """
        far = self.reach - 1
        places = torch.arange(-far, far + 1, device=self.mean.device)
        tall = self.autocovariance.new_zeros(height, *self.autocovariance.shape[1:])
        tall.index_add_(0, places % height, self.autocovariance)
        result = self.autocovariance.new_zeros(height, width, *self.autocovariance.shape[2:])
        return result.index_add_(1, places % width, tall)

    def spectrum(self, height: int, width: int) -> torch.Tensor:
        """Eigenvalues of the field on a torus: height x width x C x C, Hermitian and positive."""
        waves = torch.fft.fft2(self.wrapped(height, width), dim=(0, 1)).transpose(2, 3)
        return (waves + waves.mH) / 2

    def matrix(self, height: int, width: int, periodic: bool = False) -> torch.Tensor:
        """The covariance of an image, dense, C-major: block-Toeplitz with Toeplitz blocks."""
        rows, columns = (index.flatten() for index in _indices(height, width, self.mean.device))
        down, across = rows[None] - rows[:, None], columns[None] - columns[:, None]
        if periodic:
            found = self.wrapped(height, width)[down % height, across % width]
        else:
            found = self.at(down, across)
        size = self.channels * height * width
        return found.permute(2, 0, 3, 1).reshape(size, size)


def _indices(height: int, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    first, second = torch.meshgrid(rows, columns, indexing="ij")
    return first, second


# ------------------------------------------------------------------------------ the optimal inverse
def dense_inverse(
    convolution: Convolution, prior: StationaryPrior, noise: float, height: int, width: int
) -> torch.Tensor:
    """Eq. (2) as it stands: (C height width) x (K H' W'), f = F y. `noise` is the variance 1 / lambda."""
    matrix = convolution.matrix(height, width)
    precision = torch.linalg.inv(prior.matrix(height, width, convolution.periodic))
    return torch.linalg.solve(noise * precision + matrix.T @ matrix, matrix.T)


def dense_pseudo_inverse(convolution: Convolution, height: int, width: int) -> torch.Tensor:
    """W^+ = (W'W)^+ W', (C height width) x (K H' W')."""
    matrix = convolution.matrix(height, width)
    return torch.linalg.pinv(matrix.T @ matrix, hermitian=True) @ matrix.T


@dataclass(frozen=True)
class Solution:
    """Images N x C x H x W, the conjugate gradients' iterations and their last relative residual."""

    images: torch.Tensor
    iterations: int
    residual: float


def reconstruct(
    convolution: Convolution,
    prior: StationaryPrior,
    noise: float,
    maps: torch.Tensor,
    height: int,
    width: int,
    *,
    tolerance: float = 1e-5,
    most: int = 300,
) -> Solution:
    """Eq. (2) without a matrix, by conjugate gradients: f for maps N x K x H' x W'.

    The image is the middle of a torus too large for the field to reach round it, x = Sigma^(1/2) z with
    white z, and (noise + B'B) z = B'y, B = W Sigma^(1/2), is solved. Sigma^(1/2) is applied by FFT.
    The preconditioner is the inverse for a periodic image, exact where the convolution is
    periodic. Elsewhere edges make it wrong by as much as the condition number; its square root is
    wrong only by the root of that, and serves edges and middle alike.
    `residual` is relative, in the preconditioner's norm: with little noise the edges of the image
    may still be further from the solution than that. Raises ValueError without noise.
    """
    if not noise > 0:
        raise ValueError(f"noise is {noise}; its variance must be positive")
    torus = height, width
    if not convolution.periodic:
        sides = zip(torus, convolution.stride, strict=True)
        torus = tuple(_fast(side + prior.reach - 1, stride) for side, stride in sides)
    values, vectors = torch.linalg.eigh(prior.spectrum(*torus))
    roots = (vectors * values.clamp_min(0).sqrt()[..., None, :]) @ vectors.mH

    def root(images: torch.Tensor) -> torch.Tensor:
        """Sigma^(1/2) of images in the corner of the torus."""
        waves = torch.fft.rfft2(images, torus)
        waves = torch.einsum("yxij,njyx->niyx", roots[:, : waves.shape[3]], waves)
        return torch.fft.irfft2(waves, torus)

    def backward(maps: torch.Tensor) -> torch.Tensor:
        return root(convolution.adjoint(maps, height, width))

    target = backward(maps)
    precondition = _periodic_inverse(convolution, roots, noise)
    solution, residual = torch.zeros_like(target), target.clone()
    direction = better = precondition(residual)
    slope = start = _dot(residual, better)
    iterations = 0
    while iterations < most and bool((slope > tolerance**2 * start).any()):
        image = backward(convolution(root(direction)[:, :, :height, :width])) + noise * direction
        step = (slope / _dot(direction, image)).nan_to_num()
        solution += step * direction
        residual -= step * image
        better = precondition(residual)
        previous, slope = slope, _dot(residual, better)
        direction = better + (slope / previous).nan_to_num() * direction
        iterations += 1
    left = float(torch.where(start == 0, 0.0, slope / start).clamp_min(0).sqrt().max())
    return Solution(root(solution)[:, :, :height, :width], iterations, left)


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = values
    return rows, columns


def _dot(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first * second).sum((1, 2, 3), keepdim=True)


def _fast(side: int, multiple: int) -> int:
    """The next side whose FFT is fast, a multiple of `multiple`."""
    from scipy.fft import next_fast_len

    return multiple * cast(int, next_fast_len(-(-side // multiple), real=True))


def _periodic_inverse(
    convolution: Convolution, roots: torch.Tensor, noise: float
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The inverse of noise + B'B for the periodic convolution on the torus of `roots`, Sigma^(1/2) by
    frequency, and for any other its square root: a C s^2 x C s^2 matrix for each frequency of the maps.
    Where these would take gigabytes (the patches of a vision transformer), no preconditioner."""
    stride, (height, width) = convolution.stride, roots.shape[:2]
    count, channels = stride[0] * stride[1], roots.shape[2]
    if height * width // count * (channels * count) ** 2 > MOST_ENTRIES:
        return torch.clone
    symbol = replace(convolution, periodic=True).symbol(height, width)
    parts = symbol.unflatten(2, (count, channels)).transpose(1, 2) @ fold(roots, stride)
    mixing = parts.transpose(1, 2).flatten(2) / math.sqrt(count)  # M x K x C s^2
    system = mixing.mH @ mixing
    values, vectors = torch.linalg.eigh(system)
    power = -1.0 if convolution.periodic else -0.5
    inverse = (vectors * (values.clamp_min(0) + noise).pow(power)[:, None]) @ vectors.mH

    def apply(images: torch.Tensor) -> torch.Tensor:
        waves = fold(torch.fft.fft2(images).permute(2, 3, 1, 0), stride).flatten(1, 2)
        waves = unfold((inverse @ waves).unflatten(1, (count, channels)), stride, height, width)
        return torch.fft.ifft2(waves.permute(3, 2, 0, 1)).real

    return apply


# ------------------------------------------------------------------------------ kernels
@dataclass(frozen=True)
class Kernel:
    """A transposed convolution: pixel p = stride q + origin + u gets weight[:, :, u] y(q)."""

    weight: torch.Tensor  # K x C x k x k
    stride: int
    origin: int

    @property
    def size(self) -> int:
        return self.weight.shape[2]

    def __call__(self, maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """N x K x H' x W' -> N x C x height x width; pixels out of reach are 0."""
        images = F.conv_transpose2d(maps, self.weight, stride=self.stride)
        start = self.origin
        if start >= min(height, width) or start + min(images.shape[2:]) <= 0:
            return images.new_zeros(*images.shape[:2], height, width)
        after = height - start - images.shape[2], width - start - images.shape[3]
        return F.pad(images, (start, after[1], start, after[0]))  # negative pads cut

    def matrix(self, shapes: Shapes) -> torch.Tensor:
        """The dense (C H W) x (K H' W') matrix for images and maps of `shapes`."""
        places = []
        for pixels, cells in zip(*shapes, strict=True):
            pixel = torch.arange(pixels, device=self.weight.device)
            cell = torch.arange(cells, device=self.weight.device)
            places.append(pixel[:, None] - self.stride * cell - self.origin)
        known = [(place >= 0) & (place < self.size) for place in places]
        y, x = (place.clamp(0, self.size - 1) for place in places)
        found = self.weight[:, :, y[:, None, :, None], x[None, :, None, :]]
        found = found * (known[0][:, None, :, None] & known[1][None, :, None, :])
        return found.permute(1, 2, 3, 0, 4, 5).flatten(3).flatten(0, 2)

    def cut(self, size: int, centre: float) -> Kernel:
        """The taps within a square of `size` around the displacement `centre`.

        Raises ValueError for a square that reaches outside the kernel.
        """
        origin = _origin(size, centre)
        first = origin - self.origin
        if first < 0 or first + size > self.size:
            raise ValueError(f"a kernel of {self.size} has no {size} taps around {centre:g}")
        part = self.weight[:, :, first : first + size, first : first + size]
        return Kernel(part.contiguous(), self.stride, origin)

    def beyond(self, centre: float) -> torch.Tensor:
        """Share of the squared weights outside the square of 1, 2, 3 ... pixels around `centre`."""
        free = [abs(_origin(size, centre) - self.origin) for size in range(1, self.size + 1)]
        sizes = [size for size, lost in enumerate(free, 1) if size + lost <= self.size]
        inside = torch.stack([self.cut(size, centre).weight.square().sum() for size in sizes])
        return 1 - inside / self.weight.square().sum()


def centre_of(convolution: Convolution) -> float:
    """Displacement of the middle of an output's window from stride times the output's position."""
    return (convolution.span[0] - 1) / 2 - convolution.padding[0]


def _origin(size: int, centre: float) -> int:
    return math.floor(centre - (size - 1) / 2)


def _square(convolution: Convolution) -> int:
    """The stride. Raises ValueError where rows and columns are treated differently."""
    for name in ("stride", "padding", "span"):
        if len(set(getattr(convolution, name))) != 1:
            raise ValueError(f"kernels need a square convolution; its {name} differs by axis")
    return convolution.stride[0]


def periodic_kernel(
    convolution: Convolution, prior: StationaryPrior | None, noise: float, side: int
) -> Kernel:
    """The optimal inverse on a torus of `side` pixels, which is exactly a transposed convolution.

    Without a prior, the pseudo-inverse. `side` must be a multiple of the stride, and so large that the
    kernel does not meet itself.
    """
    stride = _square(convolution)
    symbol = replace(convolution, periodic=True).symbol(side, side)
    count, channels = stride**2, convolution.channels
    if prior is None:
        inverse = _pseudo_inverse(symbol) * count
    else:
        spectra = fold(prior.spectrum(side, side), convolution.stride)  # M x s^2 x C x C
        weighted = (spectra @ symbol.mH.unflatten(1, (count, channels))).flatten(
            1, 2
        )  # S A^H: M x C s^2 x K
        system = weighted @ symbol / count
        system.diagonal(dim1=1, dim2=2).add_(noise)
        inverse = torch.linalg.solve(system, weighted)
    waves = unfold(inverse.unflatten(1, (count, channels)), convolution.stride, side, side)
    weight = torch.fft.ifft2(waves, dim=(0, 1)).real.permute(3, 2, 0, 1)
    origin = _origin(side, centre_of(convolution))
    return Kernel(weight.roll((-origin, -origin), (2, 3)).contiguous(), stride, origin)


def _pseudo_inverse(symbol: torch.Tensor) -> torch.Tensor:
    """By frequency; what is small beside the largest singular value of all counts as 0."""
    largest = float(torch.linalg.matrix_norm(symbol, 2).max())
    return torch.linalg.pinv(symbol, atol=1e-9 * largest, rtol=0.0)


class Moments:
    """Covariances of image and maps under the prior, without edges: what optimal kernels follow from."""

    def __init__(self, convolution: Convolution, prior: StationaryPrior, noise: float):
        self.stride, self.noise = _square(convolution), noise
        self.convolution, self.prior = convolution, prior
        weight, far = convolution.dense_weight(), prior.reach - 1
        span = convolution.span[0]
        # cross[i, k, e]: covariance of x_i(p) with y_k(q), e = stride q - p, first e is `first`.
        field = F.pad(prior.autocovariance.permute(2, 3, 0, 1), (span - 1,) * 4)
        self.cross_map = F.conv2d(field, weight, dilation=convolution.dilation)
        self.first = convolution.padding[0] - far - (span - 1)
        self.outputs = len(weight)

    def cross(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Covariance of x(p) with y(q) at displacements e = stride q - p: ... x C x K."""
        size = self.cross_map.shape[2]
        places = [index - self.first for index in (rows, columns)]
        known = torch.stack([(i >= 0) & (i < size) for i in places]).all(0)
        y, x = (index.clamp(0, size - 1) for index in places)
        return self.cross_map.permute(2, 3, 0, 1)[y, x] * known[..., None, None]

    def maps(self, rows: int, columns: int) -> torch.Tensor:
        """Covariance of y(q) with y(q + (rows, columns)), noise included: K x K."""
        weight, convolution = self.convolution.dense_weight(), self.convolution
        taps = [
            torch.arange(side, device=weight.device) * dilation
            for side, dilation in zip(weight.shape[2:], convolution.dilation, strict=True)
        ]
        pad, stride = convolution.padding[0], self.stride
        down = (stride * rows + pad - taps[0])[:, None].expand(-1, len(taps[1]))
        across = (stride * columns + pad - taps[1])[None].expand(len(taps[0]), -1)
        found = torch.einsum("kiab,abil->kl", weight, self.cross(down, across))
        if rows == columns == 0:
            found = found + self.noise * torch.eye(len(found), dtype=found.dtype).to(found)
        return found

    def window(self, rows: Sequence[int], columns: Sequence[int]) -> torch.Tensor:
        """Covariance of the maps at the cells rows x columns, K-minor, square."""
        cells = [(row, column) for row in rows for column in columns]
        known: dict[tuple[int, int], torch.Tensor] = {}
        size = self.outputs
        result = torch.empty(len(cells) * size, len(cells) * size, dtype=torch.float64)
        result = result.to(self.cross_map.device)
        for i, one in enumerate(cells):
            for j, two in enumerate(cells):
                step = two[0] - one[0], two[1] - one[1]
                if step not in known:
                    known[step] = self.maps(*step)
                    known[-step[0], -step[1]] = known[step].T
                result[i * size : (i + 1) * size, j * size : (j + 1) * size] = known[step]
        return result


def best_kernel(moments: Moments, size: int) -> tuple[Kernel, float]:
    """The transposed convolution of size x size taps with the least mean squared error under the prior,
    and that error (per value).

    Each of the stride^2 phases of a pixel sees other cells: a linear regression each.
    """
    stride, centre = moments.stride, centre_of(moments.convolution)
    origin, channels = _origin(size, centre), moments.prior.channels
    device = moments.cross_map.device
    weight = torch.zeros(moments.outputs, channels, size, size, dtype=torch.float64, device=device)
    factors: dict[tuple[int, int], torch.Tensor] = {}
    explained = 0.0
    cells = [
        list(range(-((size - 1 - phase + origin) // stride), (phase - origin) // stride + 1))
        for phase in range(stride)
    ]
    for down in range(stride):
        for across in range(stride):
            rows, columns = cells[down], cells[across]
            if not rows or not columns:
                continue
            shape = len(rows), len(columns)
            if shape not in factors:
                window = moments.window(range(shape[0]), range(shape[1]))
                factors[shape] = torch.linalg.cholesky(window)
            y, x = torch.meshgrid(torch.tensor(rows), torch.tensor(columns), indexing="ij")
            y, x = y.flatten().to(device), x.flatten().to(device)
            cross = moments.cross(stride * y - down, stride * x - across)  # cells x C x K
            right = cross.permute(0, 2, 1).flatten(0, 1)  # cells K x C
            found = torch.cholesky_solve(right, factors[shape])
            explained += float((found * right).sum())
            taps = found.unflatten(0, (len(y), -1)).permute(1, 2, 0)  # K x C x cells
            weight[:, :, down - stride * y - origin, across - stride * x - origin] = taps
    error = (float(moments.prior.variance.trace()) - explained / stride**2) / channels
    return Kernel(weight, stride, origin), error


def best_resize_kernel(moments: Moments, size: int) -> tuple[Kernel, float]:
    """The best single convolution on the maps enlarged by nearest neighbours to the image's grid (Odena et
    al. 2016), as the transposed convolution of `size` that it equals, and its error.

    The convolution has size - stride + 1 taps per side. They serve all phases of a pixel alike: one
    regression. For stride 1 it is `best_kernel`. Raises ValueError for a size below the stride.
    """
    if size < moments.stride:
        raise ValueError(f"size is {size}; it must be at least the stride, {moments.stride}")
    size -= moments.stride - 1
    stride, centre = moments.stride, centre_of(moments.convolution)
    device, channels = moments.cross_map.device, moments.prior.channels
    block = _origin(stride, centre)  # pixels stride q + block ... belong to cell q
    first = block - (size - 1) - _origin(size + stride - 1, centre)
    offsets = [(y, x) for y in range(first, first + size) for x in range(first, first + size)]
    count = moments.outputs
    known: dict[tuple[int, int], torch.Tensor] = {}
    system = torch.zeros(
        len(offsets), count, len(offsets), count, dtype=torch.float64, device=device
    )
    right = torch.zeros(len(offsets), count, channels, dtype=torch.float64, device=device)
    for down in range(stride):
        for across in range(stride):
            cells = [
                ((down + y - block) // stride, (across + x - block) // stride) for y, x in offsets
            ]
            for i, one in enumerate(cells):
                place = stride * one[0] - down, stride * one[1] - across
                right[i] += moments.cross(*torch.tensor(place, device=device)).T
                for j, two in enumerate(cells):
                    step = two[0] - one[0], two[1] - one[1]
                    if step not in known:
                        known[step] = moments.maps(*step)
                    system[i, :, j] += known[step]
    size_ = len(offsets) * count
    flat = system.view(size_, size_)
    flat.diagonal().add_(1e-9 * flat.diagonal().mean())
    target = right.view(size_, channels)
    found = torch.linalg.solve(flat, target)
    error = (
        float(moments.prior.variance.trace()) - float((found * target).sum()) / stride**2
    ) / channels
    taps = found.view(size, size, count, channels).permute(2, 3, 0, 1)
    # Pixel p takes tap t from cell q where p + t lies in q's block: p - stride q runs over block - t.
    wide = size + stride - 1
    weight = torch.zeros(count, channels, wide, wide, dtype=torch.float64, device=device)
    flipped = taps.flip(2, 3)
    for down in range(stride):
        for across in range(stride):
            weight[:, :, down : down + size, across : across + size] += flipped
    return Kernel(weight, stride, block - (first + size - 1)), error


# ------------------------------------------------------------------------------ how far from one
def transposed_distance(
    inverse: torch.Tensor,
    shapes: Shapes,
    stride: int,
    border: int = 0,
) -> float:
    """|F - T(F)|_F / |F|_F, T(F) the nearest transposed convolution: entries that depend on
    p - stride q alone. `inverse` is (C H W) x (K H' W'), `shapes` are (H, W) and (H', W'); pixels
    nearer than `border` to an edge are left out."""
    (height, width), (rows, columns) = shapes
    parts = inverse.reshape(-1, height, width, inverse.shape[1] // (rows * columns), rows, columns)
    part = parts[:, border : height - border, border : width - border]
    return _spread(part, stride)


def toeplitz_distance(matrix: torch.Tensor, shape: tuple[int, int], border: int = 0) -> float:
    """Distance of F W, image to reconstructed image, from the nearest convolution on the image's grid."""
    height, width = shape
    parts = matrix.reshape(-1, height, width, matrix.shape[1] // (height * width), height, width)
    inside = slice(border, height - border), slice(border, width - border)
    return _spread(parts[:, *inside][..., inside[0], inside[1]], 1)


def _spread(part: torch.Tensor, stride: int) -> float:
    """Relative distance of C x h x w x K x h' x w' from a function of p - stride q."""
    channels, height, width, outputs, rows, columns = part.shape
    kinds = []
    for side, cells in ((height, rows), (width, columns)):
        pixel, cell = torch.arange(side), stride * torch.arange(cells)
        kinds.append(pixel[:, None] - cell[None] + stride * (cells - 1))
    across = int(kinds[1].max()) + 1
    kind = kinds[0][:, None, :, None] * across + kinds[1][None, :, None, :]
    kind = kind.flatten().to(part.device)
    flat = part.permute(0, 3, 1, 2, 4, 5).reshape(channels * outputs, -1)
    counts = torch.bincount(kind).double()
    sums = flat.new_zeros(len(flat), len(counts)).index_add_(1, kind, flat)
    means = sums / counts.clamp_min(1)
    deviation = flat - means[:, kind]
    return float(deviation.norm() / flat.norm())


def edge_correction(inverse: torch.Tensor, shapes: Shapes, kernel: Kernel) -> torch.Tensor:
    """For pixels 0, 1, 2 ... from the nearest edge: relative distance of their rows of the inverse from
    those of the transposed convolution without edges."""
    height, width = shapes[0]
    ideal = kernel.matrix(shapes)
    y, x = _indices(height, width, inverse.device)
    edge = torch.stack([y, height - 1 - y, x, width - 1 - x]).amin(0).flatten()
    edge = edge.repeat(len(inverse) // len(edge))
    counts = int(edge.max()) + 1
    found = []
    for distance in range(counts):
        ring = edge == distance
        found.append((inverse[ring] - ideal[ring]).norm() / ideal[ring].norm())
    return torch.stack(found)
