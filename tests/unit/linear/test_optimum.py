"""The optimal linear inverse against dense matrices and literal loops."""

import math
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deep_restoration.linear import optimum
from deep_restoration.linear.optimum import (
    Convolution,
    Kernel,
    Moments,
    StationaryPrior,
    best_kernel,
    best_resize_kernel,
    centre_of,
    dense_inverse,
    dense_pseudo_inverse,
    edge_correction,
    fold,
    periodic_kernel,
    reconstruct,
    toeplitz_distance,
    transposed_distance,
    unfold,
)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layer(outputs, inputs, kernel, stride=1, padding=0, dilation=1, groups=1):
    """A convolution layer whose outputs have about the variance of white inputs."""
    module = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups)
    with torch.no_grad():
        weight = random(*module.weight.shape, seed=outputs)
        module = module.double()
        module.weight.copy_(weight / math.sqrt(weight[0].numel()))
        module.bias.copy_(random(outputs, seed=7))
    return module


def convolution_of(*arguments, periodic=False, **settings):
    return replace(Convolution.of(layer(*arguments, **settings)), periodic=periodic)


LAYERS = {
    "valid": dict(outputs=2, inputs=1, kernel=3),
    "padded": dict(outputs=3, inputs=2, kernel=3, padding=1),
    "even": dict(outputs=2, inputs=1, kernel=4, stride=2, padding=1),
    "stride 2": dict(outputs=4, inputs=2, kernel=3, stride=2, padding=1),
    "stride 3": dict(outputs=5, inputs=1, kernel=5, stride=3, padding=2),
    "gaps": dict(outputs=2, inputs=1, kernel=1, stride=2),
    "dilated": dict(outputs=2, inputs=1, kernel=3, padding=2, dilation=2),
    "groups": dict(outputs=4, inputs=2, kernel=3, padding=1, groups=2),
    "depthwise": dict(outputs=3, inputs=3, kernel=3, stride=2, padding=1, groups=3),
    "uneven": dict(
        outputs=3, inputs=1, kernel=(3, 2), stride=(2, 3), padding=(1, 0), dilation=(1, 2)
    ),
}
SIDES = 12, 6  # multiples of all strides above

every_layer = pytest.mark.parametrize("settings", LAYERS.values(), ids=LAYERS)
every_border = pytest.mark.parametrize("periodic", [False, True], ids=["zeros", "periodic"])


def literal_matrix(convolution, height, width):
    """W by loops over outputs and taps."""
    weight, stride = convolution.weight.numpy(), convolution.stride
    outputs, inputs, *kernel = weight.shape
    rows, columns = convolution.output_shape(height, width)
    found = np.zeros((outputs, rows, columns, convolution.channels, height, width))
    for k, row, column, c, a, b in np.ndindex(outputs, rows, columns, inputs, *kernel):
        y = row * stride[0] + a * convolution.dilation[0] - convolution.padding[0]
        x = column * stride[1] + b * convolution.dilation[1] - convolution.padding[1]
        if convolution.periodic:
            y, x = y % height, x % width
        elif not (0 <= y < height and 0 <= x < width):
            continue
        channel = k // (outputs // convolution.groups) * inputs + c
        found[k, row, column, channel, y, x] += weight[k, c, a, b]
    return torch.from_numpy(found.reshape(outputs * rows * columns, -1))


def filters_of(channels, reach, seed=1):
    """Filters that make a field of `channels` from one more channels of white noise."""
    return random(channels, channels + 1, reach, reach, seed=seed).numpy() / (2 * reach)


def smooth(channels=1, reach=3, floor=0.1):
    """The covariance of white noise filtered: R_ij(d) = sum over m, u of g_im(u) g_jm(u + d)."""
    filters, far = filters_of(channels, reach), reach - 1
    found = np.zeros((2 * reach - 1, 2 * reach - 1, channels, channels))
    for y, x, a, b in np.ndindex(reach, reach, reach, reach):
        found[b - y + far, a - x + far] += filters[:, :, y, x] @ filters[:, :, b, a].T
    found[far, far] += floor * np.eye(channels)
    return StationaryPrior(torch.zeros(channels, dtype=torch.float64), torch.from_numpy(found))


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


# ------------------------------------------------------------------------------ the convolution


@every_layer
def test_a_convolution_is_the_layer_without_its_bias(settings):
    module = layer(**settings)
    convolution = Convolution.of(module)
    images = random(2, module.in_channels, 11, 9)
    found = convolution(images)
    assert torch.allclose(found + module.bias[:, None, None], module(images))
    assert found.shape[2:] == convolution.output_shape(11, 9)
    assert convolution.channels == module.in_channels
    assert not found.requires_grad


@every_border
@every_layer
def test_matrix_is_the_literal_one(settings, periodic):
    convolution = convolution_of(**settings, periodic=periodic)
    expected = literal_matrix(convolution, *SIDES)
    assert torch.allclose(convolution.matrix(*SIDES), expected)


@every_border
@every_layer
def test_call_and_adjoint_are_the_matrix_and_its_transpose(settings, periodic):
    convolution = convolution_of(**settings, periodic=periodic)
    matrix = literal_matrix(convolution, *SIDES)
    images = random(3, convolution.channels, *SIDES)
    maps = convolution(images)
    assert maps.shape[2:] == convolution.output_shape(*SIDES)
    assert torch.allclose(maps.flatten(1), images.flatten(1) @ matrix.T)
    maps = random(*maps.shape, seed=1)
    back = convolution.adjoint(maps, *SIDES)
    assert back.shape == images.shape
    assert torch.allclose(back.flatten(1), maps.flatten(1) @ matrix)
    assert torch.allclose((convolution(images) * maps).sum(), (images * back).sum())


@pytest.mark.parametrize(("height", "width"), [(9, 7), (8, 10)])
def test_adjoint_gives_zero_to_pixels_that_no_output_sees(height, width):
    convolution = convolution_of(2, 1, 3, stride=3)
    rows, columns = convolution.output_shape(height, width)
    back = convolution.adjoint(random(1, 2, rows, columns), height, width)
    matrix = literal_matrix(convolution, height, width)
    assert torch.allclose(back.flatten(), random(1, 2, rows, columns).flatten() @ matrix)
    assert not back[:, :, 3 * rows :].any()
    assert not back[:, :, :, 3 * columns :].any()


def test_a_kernel_goes_round_a_torus_smaller_than_itself():
    convolution = convolution_of(2, 1, 5, padding=4, periodic=True)
    expected = literal_matrix(convolution, 2, 3)
    assert torch.allclose(convolution.matrix(2, 3), expected)
    maps = random(1, 2, 2, 3)
    assert torch.allclose(convolution.adjoint(maps, 2, 3).flatten(), maps.flatten() @ expected)


def test_dense_weight_has_zeros_between_groups():
    convolution = convolution_of(6, 4, 3, groups=2)
    dense = convolution.dense_weight()
    assert dense.shape == (6, 4, 3, 3)
    assert torch.equal(dense[:3, :2], convolution.weight[:3])
    assert torch.equal(dense[3:, 2:], convolution.weight[3:])
    assert not dense[:3, 2:].any()
    assert not dense[3:, :2].any()
    whole = replace(convolution, weight=dense, groups=1)
    images = random(2, 4, 6, 5)
    assert torch.allclose(whole(images), convolution(images))


def test_span_counts_the_gaps_of_a_dilation():
    assert convolution_of(1, 1, (3, 2), dilation=(2, 5)).span == (5, 6)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (dict(padding=1, padding_mode="reflect"), "mode 'reflect'"),
        (dict(padding=1, padding_mode="circular"), "mode 'circular'"),
        (dict(padding="same"), "padding 'same'"),
        (dict(padding="valid"), "padding 'valid'"),
    ],
)
def test_other_paddings_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        Convolution.of(nn.Conv2d(1, 1, 3, **settings))


@pytest.mark.parametrize(("height", "width"), [(7, 6), (6, 7)])
def test_a_periodic_image_is_a_multiple_of_the_stride(height, width):
    convolution = convolution_of(1, 1, 3, stride=2, periodic=True)
    for use in (
        lambda: convolution(random(1, 1, height, width)),
        lambda: convolution.adjoint(random(1, 1, 3, 3), height, width),
        lambda: convolution.symbol(height, width),
    ):
        with pytest.raises(ValueError, match=f"{height} x {width} is no multiple of the stride"):
            use()


# ------------------------------------------------------------------------------ frequencies

strides = pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2), (1, 3)])


@strides
def test_fold_places_indistinguishable_frequencies_together(stride):
    rows, columns = SIDES[0] // stride[0], SIDES[1] // stride[1]
    names = torch.stack(torch.meshgrid(*map(torch.arange, SIDES), indexing="ij"), -1)
    folded = fold(names, stride)
    assert folded.shape == (rows * columns, stride[0] * stride[1], 2)
    for place, aliases in enumerate(folded.tolist()):
        row, column = place // columns, place % columns
        expected = {
            (y, x)
            for y in range(SIDES[0])
            for x in range(SIDES[1])
            if y % rows == row and x % columns == column
        }
        assert set(map(tuple, aliases)) == expected


@strides
def test_unfold_undoes_fold(stride):
    spectrum = random(*SIDES, 2, 3)
    assert torch.equal(unfold(fold(spectrum, stride), stride, *SIDES), spectrum)


@strides
def test_the_spectrum_of_every_other_pixel_is_the_mean_over_aliases(stride):
    image = random(*SIDES)
    found = fold(torch.fft.fft2(image), stride).mean(1)
    expected = torch.fft.fft2(image[:: stride[0], :: stride[1]])
    assert torch.allclose(found, expected.flatten())


@every_layer
def test_symbol_is_the_periodic_convolution_of_spectra(settings):
    convolution = convolution_of(**settings, periodic=True)
    stride, count = convolution.stride, math.prod(convolution.stride)
    symbol = convolution.symbol(*SIDES)
    images = random(1, convolution.channels, *SIDES)
    maps = convolution(images)
    waves = fold(torch.fft.fft2(images[0]).permute(1, 2, 0), stride).flatten(1)
    expected = torch.fft.fft2(maps[0]).flatten(1).T
    assert torch.allclose(torch.einsum("mka,ma->mk", symbol, waves) / count, expected)
    back = torch.fft.fft2(convolution.adjoint(maps, *SIDES)[0]).permute(1, 2, 0)
    found = torch.einsum("mka,mk->ma", symbol.conj(), expected)
    assert torch.allclose(found, fold(back, stride).flatten(1))


# ------------------------------------------------------------------------------ the prior


def taper_of(window):
    """A Hann taper, the square of a sine."""
    line = np.sin(np.pi * np.arange(1, window + 1) / (window + 1)) ** 2
    return np.outer(line, line)


def lagged(first, second, down, across):
    """Sum over p of first(p) second(p + d) for maps C x H x W: C x C."""
    height, width = first.shape[1:]
    total = np.zeros((len(first), len(second)))
    for y, x in np.ndindex(height, width):
        if 0 <= y + down < height and 0 <= x + across < width:
            total += np.outer(first[:, y, x], second[:, y + down, x + across])
    return total


def welch(batches, window, floor):
    """Welch's average as it is written down."""
    channels = batches[0].shape[1]
    pixels = np.concatenate([b.transpose(1, 0, 2, 3).reshape(channels, -1) for b in batches], 1)
    mean, taper, side = pixels.mean(axis=1), taper_of(window), 2 * window - 1
    total, pieces = np.zeros((side, side, channels, channels)), 0
    for image in (image for batch in batches for image in batch):
        for top in range(0, image.shape[1] - window + 1, window // 2):
            for left in range(0, image.shape[2] - window + 1, window // 2):
                part = image[:, top : top + window, left : left + window]
                part = (part - mean[:, None, None]) * taper
                for y, x in np.ndindex(side, side):
                    total[y, x] += lagged(part, part, y - window + 1, x - window + 1)
                pieces += 1
    total /= pieces * np.square(taper).sum()
    total[window - 1, window - 1] += floor * np.eye(channels)
    return mean, total


@pytest.mark.parametrize(
    ("window", "floor", "shapes"),
    [
        (4, 0.0, [(2, 2, 6, 9)]),
        (3, 0.5, [(1, 2, 5, 4), (2, 2, 3, 7), (1, 2, 2, 8)]),
        (2, 1e-6, [(2, 1, 4, 3)]),
    ],
)
def test_fit_is_welchs_average(window, floor, shapes):
    batches = [random(*shape, seed=i) + 3 for i, shape in enumerate(shapes)]
    prior = StationaryPrior.fit(batches, window, floor)
    mean, covariance = welch([batch.numpy() for batch in batches], window, floor)
    assert np.allclose(prior.mean, mean)
    assert np.allclose(prior.autocovariance, covariance, atol=1e-12, rtol=1e-9)
    assert prior.reach == window
    assert prior.channels == shapes[0][1]


def test_a_window_of_one_pixel_fits_the_covariance_of_the_channels():
    images = random(5, 3, 6, 4)
    prior = StationaryPrior.fit([images], 1, floor=0.25)
    pixels = images.transpose(0, 1).flatten(1)
    expected = torch.cov(pixels, correction=0) + 0.25 * torch.eye(3)
    assert torch.allclose(prior.autocovariance, expected[None, None])


@pytest.mark.parametrize("reach", [1, 3])
def test_fit_recovers_a_planted_field_under_the_tapers_own_correlation(reach):
    window, filters = 8, filters_of(2, reach)
    noise = random(160, 3, 23 + reach, 23 + reach, seed=2)
    images = F.conv2d(noise, torch.from_numpy(filters).flip(2, 3))
    images = images + torch.tensor([5.0, -3])[:, None, None]
    prior = StationaryPrior.fit(images.split(100), window, floor=0)
    truth = smooth(2, reach, floor=0)
    taper = taper_of(window)[None]
    scale = float(truth.variance.diagonal().max())
    assert torch.allclose(prior.mean, torch.tensor([5.0, -3]).double(), atol=0.03 * scale**0.5)
    for y, x in np.ndindex(15, 15):
        down, across = y - 7, x - 7
        factor = lagged(taper, taper, down, across)[0, 0] / lagged(taper, taper, 0, 0)[0, 0]
        expected = truth.at(torch.tensor(down), torch.tensor(across)) * factor
        assert torch.allclose(prior.autocovariance[y, x], expected, atol=0.03 * scale)


@pytest.mark.parametrize("shape", [(2, 1, 7, 20), (2, 1, 20, 7)])
def test_images_smaller_than_a_window_are_refused(shape):
    with pytest.raises(ValueError, match="smaller than a window of 8 pixels"):
        StationaryPrior.fit([random(*shape)], 8)


def test_the_covariance_is_zero_beyond_its_reach():
    prior = smooth(2, 3)
    rows, columns = torch.meshgrid(torch.arange(-5, 6), torch.arange(-4, 7), indexing="ij")
    found = prior.at(rows, columns)
    assert found.shape == (11, 11, 2, 2)
    for y, x in np.ndindex(11, 11):
        down, across = y - 5, x - 4
        if max(abs(down), abs(across)) < 3:
            assert torch.equal(found[y, x], prior.autocovariance[down + 2, across + 2])
        else:
            assert not found[y, x].any()


@pytest.mark.parametrize(("height", "width"), [(8, 5), (2, 7), (3, 1)])
def test_displacements_that_a_torus_makes_equal_add_up(height, width):
    prior = smooth(2, 3)
    expected = torch.zeros(height, width, 2, 2, dtype=torch.float64)
    for down in range(-2, 3):
        for across in range(-2, 3):
            expected[down % height, across % width] += prior.autocovariance[down + 2, across + 2]
    assert torch.allclose(prior.wrapped(height, width), expected)


def literal_covariance(prior, height, width, periodic):
    far, channels = prior.reach - 1, prior.channels
    found = np.zeros((channels, height, width, channels, height, width))
    table = prior.wrapped(height, width) if periodic else prior.autocovariance
    for y, x, b, a in np.ndindex(height, width, height, width):
        down, across = b - y, a - x
        if periodic:
            found[:, y, x, :, b, a] = table[down % height, across % width]
        elif max(abs(down), abs(across)) <= far:
            found[:, y, x, :, b, a] = table[down + far, across + far]
    return torch.from_numpy(found.reshape(channels * height * width, -1))


@every_border
@pytest.mark.parametrize(("height", "width"), [(4, 6), (2, 3), (1, 1)])
def test_the_covariance_of_an_image_is_the_literal_one(height, width, periodic):
    prior = smooth(2, 3)
    matrix = prior.matrix(height, width, periodic)
    assert torch.allclose(matrix, literal_covariance(prior, height, width, periodic))
    assert torch.allclose(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).min() > 0.099  # the floor
    assert toeplitz_distance(matrix, (height, width)) < 1e-14


def test_the_covariance_is_that_of_filtered_noise():
    filters = torch.from_numpy(filters_of(2, 3))
    generator = Convolution(filters.flip(2, 3)).matrix(6, 7)  # noise 6 x 7 -> field 4 x 5
    expected = generator @ generator.T
    assert torch.allclose(smooth(2, 3, floor=0).matrix(4, 5), expected)


@pytest.mark.parametrize(("height", "width"), [(5, 8), (6, 2)])
def test_a_periodic_covariance_is_diagonal_in_the_fourier_domain(height, width):
    prior = smooth(2, 3)
    matrix = prior.matrix(height, width, periodic=True)
    blocks = matrix.view(2, height, width, 2, height, width)
    assert torch.allclose(blocks.roll((1, 1), (1, 4)), blocks)  # circulant in rows,
    assert torch.allclose(blocks.roll((1, 1), (2, 5)), blocks)  # and in columns
    size = height * width
    fourier = torch.fft.fft2(torch.eye(size, dtype=torch.float64).view(size, height, width))
    fourier = torch.kron(torch.eye(2), fourier.reshape(size, size).T.contiguous()) / math.sqrt(size)
    waves = (fourier @ matrix.to(fourier) @ fourier.mH).view(2, size, 2, size)
    spectrum = prior.spectrum(height, width).flatten(0, 1)
    for frequency in range(size):
        assert torch.allclose(waves[:, frequency, :, frequency], spectrum[frequency])
        waves[:, frequency, :, frequency] = 0
    assert waves.abs().max() < 1e-12
    values = torch.linalg.eigvalsh(spectrum).flatten().sort().values
    assert torch.allclose(values, torch.linalg.eigvalsh(matrix))


@pytest.mark.parametrize(("height", "width"), [(7, 7), (16, 5), (3, 1)])
def test_a_fitted_spectrum_is_hermitian_and_positive(height, width):
    prior = StationaryPrior.fit([random(2, 3, 12, 9)], 4)
    spectrum = prior.spectrum(height, width)
    assert torch.equal(spectrum, spectrum.mH)
    assert torch.linalg.eigvalsh(spectrum).min() > 0.99e-6


def test_white_values_are_independent():
    prior = StationaryPrior.white(3, 2.0)
    assert prior.reach == 1
    assert torch.equal(prior.matrix(4, 5), 2 * torch.eye(60, dtype=torch.float64))
    assert torch.equal(prior.variance, 2 * torch.eye(3, dtype=torch.float64))
    expected = 2 * torch.eye(3, dtype=torch.complex128).expand(4, 5, 3, 3)
    assert torch.allclose(prior.spectrum(4, 5), expected)


# ------------------------------------------------------------------------------ the optimal inverse


def expected_error(inverse, matrix, covariance, noise):
    """Mean squared error per value of F y, y = W x + noise."""
    rest = torch.eye(len(covariance), dtype=torch.float64) - inverse @ matrix
    lost = (rest @ covariance @ rest.T).trace() + noise * inverse.square().sum()
    return float(lost) / len(covariance)


def best_inverse(matrix, covariance, noise):
    """Eq. (2) in its second form."""
    system = matrix @ covariance @ matrix.T
    system = system + noise * torch.eye(len(system), dtype=torch.float64)
    return covariance @ matrix.T @ torch.linalg.inv(system)


@every_border
@every_layer
def test_both_forms_of_the_inverse_agree(settings, periodic):
    convolution = convolution_of(**settings, periodic=periodic)
    prior, noise = smooth(convolution.channels), 0.03
    matrix = literal_matrix(convolution, *SIDES)
    covariance = literal_covariance(prior, *SIDES, periodic)
    found = dense_inverse(convolution, prior, noise, *SIDES)
    first = torch.linalg.inv(noise * torch.linalg.inv(covariance) + matrix.T @ matrix)
    assert torch.allclose(found, first @ matrix.T)
    assert torch.allclose(found, best_inverse(matrix, covariance, noise))


@pytest.mark.parametrize("name", ["padded", "stride 2", "uneven"])
def test_the_inverse_is_the_least_squares_linear_estimate(name):
    convolution, noise = convolution_of(**LAYERS[name]), 0.1
    prior = smooth(convolution.channels)
    matrix = convolution.matrix(6, 6)
    covariance = prior.matrix(6, 6)
    inverse = dense_inverse(convolution, prior, noise, 6, 6)
    least = expected_error(inverse, matrix, covariance, noise)
    for seed in range(5):
        change = 1e-3 * random(*inverse.shape, seed=seed)
        up = expected_error(inverse + change, matrix, covariance, noise)
        down = expected_error(inverse - change, matrix, covariance, noise)
        assert min(up, down) > least
        assert up - least == pytest.approx(down - least, rel=1e-6)  # no slope


def test_no_linear_estimate_of_samples_is_better():
    convolution, prior, noise = convolution_of(2, 1, 3, stride=2, padding=1), smooth(), 0.05
    source = torch.linalg.cholesky(prior.matrix(4, 4))
    images = random(40_000, 16) @ source.T
    matrix = convolution.matrix(4, 4)
    maps = images @ matrix.T + math.sqrt(noise) * random(40_000, 8, seed=1)
    regression = torch.linalg.lstsq(maps, images).solution.T
    inverse = dense_inverse(convolution, prior, noise, 4, 4)
    assert relative(regression, inverse) < 0.05
    error = (images - maps @ inverse.T).square().mean()
    expected = expected_error(inverse, matrix, prior.matrix(4, 4), noise)
    assert float(error) == pytest.approx(expected, rel=0.02)


def test_the_inverse_is_the_most_probable_image():
    convolution, prior, noise = convolution_of(3, 2, 3, stride=2), smooth(2), 0.2
    maps = random(1, 3, 3, 2)
    inverse = dense_inverse(convolution, prior, noise, 7, 6)
    image = (inverse @ maps.flatten()).view(1, 2, 7, 6).requires_grad_()
    unlikely = (convolution(image) - maps).square().sum() / (2 * noise)
    precision = torch.linalg.inv(prior.matrix(7, 6))
    unlikely = unlikely + image.flatten() @ precision @ image.flatten() / 2
    (slope,) = torch.autograd.grad(unlikely, image)
    assert slope.abs().max() < 1e-10


def test_much_noise_leaves_the_mean():
    convolution = convolution_of(2, 1, 3)
    inverse = dense_inverse(convolution, smooth(), 1e9, 6, 6)
    assert inverse.abs().max() < 1e-8


@every_border
def test_little_noise_recovers_what_an_invertible_convolution_saw(periodic):
    weight = torch.linalg.qr(random(8, 8)).Q.view(8, 2, 2, 2)
    convolution = Convolution(weight, (2, 2), periodic=periodic)
    matrix = convolution.matrix(6, 4)
    inverse = dense_inverse(convolution, smooth(2), 1e-12, 6, 4)
    assert torch.allclose(inverse @ matrix, torch.eye(48, dtype=torch.float64), atol=1e-7)


@every_border
@every_layer
def test_the_pseudo_inverse_meets_penroses_conditions(settings, periodic):
    convolution = convolution_of(**settings, periodic=periodic)
    matrix = convolution.matrix(*SIDES)
    inverse = dense_pseudo_inverse(convolution, *SIDES)
    assert torch.allclose(matrix @ inverse @ matrix, matrix, atol=1e-9)
    assert torch.allclose(inverse @ matrix @ inverse, inverse, atol=1e-9)
    assert torch.allclose(matrix @ inverse, (matrix @ inverse).T, atol=1e-9)
    assert torch.allclose(inverse @ matrix, (inverse @ matrix).T, atol=1e-9)


def test_the_pseudo_inverse_is_the_limit_of_ridge_regression():
    convolution = convolution_of(4, 2, 3, stride=2, padding=1)
    ridge = dense_inverse(convolution, StationaryPrior.white(2), 1e-9, 6, 6)
    assert torch.allclose(ridge, dense_pseudo_inverse(convolution, 6, 6), atol=1e-6)


# ------------------------------------------------------------------------------ without a matrix


@every_border
@every_layer
@pytest.mark.parametrize("white", [False, True], ids=["smooth", "ridge"])
def test_reconstruct_is_the_dense_inverse(settings, periodic, white):
    convolution = convolution_of(**settings, periodic=periodic)
    channels = convolution.channels
    prior = StationaryPrior.white(channels, 0.7) if white else smooth(channels)
    maps = random(3, len(convolution.weight), *convolution.output_shape(*SIDES))
    maps = maps * torch.tensor([1.0, 1e-6, 1e6])[:, None, None, None]
    solution = reconstruct(convolution, prior, 0.05, maps, *SIDES, tolerance=1e-12)
    expected = maps.flatten(1) @ dense_inverse(convolution, prior, 0.05, *SIDES).T
    assert solution.images.shape == (3, channels, *SIDES)
    for found, image in zip(solution.images, expected, strict=True):
        assert relative(found.flatten(), image) < 1e-8
    assert solution.residual <= 1e-12
    if periodic:
        assert solution.iterations == 1
    if white:
        matrix = convolution.matrix(*SIDES)
        ridge = matrix.T @ matrix + 0.05 / 0.7 * torch.eye(matrix.shape[1])
        assert torch.allclose(expected, torch.linalg.solve(ridge, matrix.T @ maps.flatten(1).T).T)


@pytest.mark.parametrize(("height", "width"), [(7, 11), (13, 5), (6, 9)])
@pytest.mark.parametrize("name", ["stride 2", "stride 3", "uneven", "gaps"])
def test_reconstruct_images_that_are_no_multiple_of_the_stride(name, height, width):
    convolution = convolution_of(**LAYERS[name])
    prior = smooth(convolution.channels, 4)
    maps = random(1, len(convolution.weight), *convolution.output_shape(height, width))
    solution = reconstruct(convolution, prior, 0.1, maps, height, width, tolerance=1e-12)
    expected = dense_inverse(convolution, prior, 0.1, height, width) @ maps.flatten()
    assert relative(solution.images.flatten(), expected) < 1e-8


@every_border
def test_reconstruct_where_the_preconditioner_would_be_too_large(periodic, monkeypatch):
    monkeypatch.setattr(optimum, "MOST_ENTRIES", 1000)
    convolution, prior = convolution_of(9, 3, 4, stride=4, periodic=periodic), smooth(3, 2)
    maps = random(2, 9, 2, 3)
    solution = reconstruct(convolution, prior, 0.1, maps, 8, 12, tolerance=1e-12)
    expected = maps.flatten(1) @ dense_inverse(convolution, prior, 0.1, 8, 12).T
    assert relative(solution.images.flatten(1), expected) < 1e-8
    assert solution.iterations > 1


@every_border
def test_reconstruct_images_smaller_than_the_priors_reach(periodic):
    convolution, prior = convolution_of(2, 1, 3, padding=1, periodic=periodic), smooth(1, 5)
    maps = random(1, 2, 3, 4)
    solution = reconstruct(convolution, prior, 0.1, maps, 3, 4, tolerance=1e-12)
    expected = dense_inverse(convolution, prior, 0.1, 3, 4) @ maps.flatten()
    assert relative(solution.images.flatten(), expected) < 1e-8


@every_border
def test_reconstruct_under_a_prior_that_excludes_images(periodic):
    convolution = convolution_of(3, 2, 3, stride=2, padding=1, periodic=periodic)
    one = smooth(1).autocovariance
    prior = StationaryPrior(torch.zeros(2).double(), one * torch.tensor([[1.0, 2], [2, 4]]))
    maps = random(1, 3, 4, 3)
    solution = reconstruct(convolution, prior, 0.05, maps, 8, 6, tolerance=1e-12)
    covariance = literal_covariance(prior, 8, 6, periodic)
    expected = best_inverse(convolution.matrix(8, 6), covariance, 0.05) @ maps.flatten()
    assert relative(solution.images.flatten(), expected) < 1e-7
    assert torch.allclose(solution.images[:, 1], 2 * solution.images[:, 0])


@every_border
def test_maps_of_zeros_give_the_mean(periodic):
    convolution = convolution_of(2, 1, 3, padding=1, periodic=periodic)
    maps = random(3, 2, 6, 6)
    solution = reconstruct(convolution, smooth(), 0.1, torch.zeros_like(maps), 6, 6)
    assert not solution.images.any()
    assert solution.iterations == 0
    assert solution.residual == 0
    maps[1] = 0
    solution = reconstruct(convolution, smooth(), 0.1, maps, 6, 6, tolerance=1e-12)
    assert not solution.images[1].any()
    expected = maps.flatten(1) @ dense_inverse(convolution, smooth(), 0.1, 6, 6).T
    assert torch.allclose(solution.images.flatten(1), expected)


def preconditioner(convolution, prior, noise, height, width):
    values, vectors = torch.linalg.eigh(prior.spectrum(height, width))
    roots = vectors * values.sqrt()[..., None, :] @ vectors.mH
    size = prior.channels * height * width
    basis = torch.eye(size, dtype=torch.float64).view(size, -1, height, width)
    return optimum._periodic_inverse(convolution, roots, noise)(basis).flatten(1).T


@every_border
def test_the_preconditioner_is_the_inverse_on_a_torus_or_its_root(periodic):
    convolution = convolution_of(3, 2, 3, stride=2, padding=1, periodic=periodic)
    prior, noise = smooth(2), 0.01
    found = preconditioner(convolution, prior, noise, 8, 6)
    values, vectors = torch.linalg.eigh(literal_covariance(prior, 8, 6, True))
    mixed = replace(convolution, periodic=True).matrix(8, 6) @ vectors * values.sqrt() @ vectors.T
    system = mixed.T @ mixed
    expected = system + noise * torch.eye(96, dtype=torch.float64)
    inverse = torch.linalg.inv(found if periodic else found @ found)
    assert torch.allclose(inverse, expected, atol=1e-10)


@pytest.mark.parametrize("most", [0, 1, 2, 5])
def test_the_residual_is_that_of_the_iteration_it_stopped_at(most):
    convolution, noise = convolution_of(2, 1, 3, stride=2, padding=1), 0.01
    prior, maps = StationaryPrior.white(1), random(1, 2, 4, 3)
    found = reconstruct(convolution, prior, noise, maps, 8, 6, tolerance=1e-12, most=most)
    assert found.iterations == most
    matrix = convolution.matrix(8, 6)
    target = matrix.T @ maps.flatten()
    image = found.images.flatten()
    residual = target - matrix.T @ (matrix @ image) - noise * image
    inverse = preconditioner(convolution, prior, noise, 8, 6)
    share = (residual @ inverse @ residual) / (target @ inverse @ target)
    assert found.residual == pytest.approx(float(share) ** 0.5, rel=1e-6)


def test_iterations_end_at_the_tolerance():
    convolution, prior = convolution_of(2, 1, 3, stride=2, padding=1), smooth()
    maps = random(4, 2, 6, 6)
    expected = maps.flatten(1) @ dense_inverse(convolution, prior, 0.01, 12, 12).T
    iterations, errors = [], []
    for tolerance in (1e-1, 1e-3, 1e-5, 1e-7):
        found = reconstruct(convolution, prior, 0.01, maps, 12, 12, tolerance=tolerance)
        assert found.residual <= tolerance
        most = found.iterations - 1
        short = reconstruct(convolution, prior, 0.01, maps, 12, 12, tolerance=tolerance, most=most)
        assert short.residual > tolerance
        iterations.append(found.iterations)
        errors.append(relative(found.images.flatten(1), expected))
    assert iterations == sorted(set(iterations))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-5


def test_maps_that_are_no_numbers_are_not_reported_as_solved():
    maps = random(1, 2, 4, 4)
    maps[0, 0, 0, 0] = math.nan
    found = reconstruct(convolution_of(2, 1, 3, padding=1), smooth(), 0.1, maps, 4, 4)
    assert not found.residual < 1


# ------------------------------------------------------------------------------ how far from one


def literal_distance(parts, stride):
    """Loops over C x H x W x K x H' x W' entries; equal displacements p - stride q share a mean."""
    kinds = defaultdict(list)
    for (c, y, x, k, row, column), value in np.ndenumerate(parts):
        kinds[c, k, y - stride * row, x - stride * column].append(value)
    lost = sum(np.square(np.array(v) - np.mean(v)).sum() for v in kinds.values())
    return math.sqrt(lost / np.square(parts).sum())


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("border", [0, 1])
def test_transposed_distance_is_the_literal_one(stride, border):
    parts = random(2, 6, 7, 3, 2, 3).numpy()
    inside = parts[:, border : 6 - border, border : 7 - border]
    matrix = torch.from_numpy(parts).reshape(84, 18)
    found = transposed_distance(matrix, ((6, 7), (2, 3)), stride, border)
    assert found == pytest.approx(literal_distance(inside, stride), rel=1e-12)
    assert 0.1 < found < 1


@pytest.mark.parametrize("border", [0, 1])
def test_toeplitz_distance_is_the_literal_one(border):
    parts = random(2, 4, 5, 2, 4, 5).numpy()
    rows, columns = slice(border, 4 - border), slice(border, 5 - border)
    inside = parts[:, rows, columns, :, rows, columns]
    found = toeplitz_distance(torch.from_numpy(parts).reshape(40, 40), (4, 5), border)
    assert found == pytest.approx(literal_distance(inside, 1), rel=1e-12)
    assert 0.1 < found < 1


def test_distances_share_squares_between_what_is_and_is_not_a_convolution():
    parts = torch.zeros(1, 2, 1, 1, 2, 1, dtype=torch.float64)
    parts[0, 0, 0, 0, 0, 0], parts[0, 1, 0, 0, 1, 0] = 1, 3  # both at displacement 0; the mean is 2
    found = toeplitz_distance(parts.reshape(2, 2), (2, 1))
    assert found == pytest.approx(math.sqrt(2 / 10))


def plain_matrix(kernel, height, width, rows, columns):
    """A kernel as a matrix (C H W) x (K H' W')."""
    basis = torch.eye(len(kernel.weight) * rows * columns, dtype=torch.float64)
    basis = basis.view(-1, len(kernel.weight), rows, columns)
    return kernel(basis, height, width).flatten(1).T


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("origin", [-3, 0, 2])
def test_a_transposed_convolution_is_at_distance_zero(stride, origin):
    kernel = Kernel(random(2, 3, 5, 5), stride, origin)
    matrix = plain_matrix(kernel, 8, 7, 3, 4)
    assert transposed_distance(matrix, ((8, 7), (3, 4)), stride) < 1e-14


def test_only_a_convolution_without_stride_is_toeplitz():
    plain = convolution_of(1, 1, 3, padding=1).matrix(6, 5)
    assert toeplitz_distance(plain, (6, 5)) < 1e-14
    strided = convolution_of(1, 1, 3, stride=2, padding=1).matrix(6, 6)
    assert toeplitz_distance(strided.T @ strided, (6, 6)) > 0.2


# ------------------------------------------------------------------------------ the theorem


def distances(convolution, prior, noise, height, width, border=0):
    """Of F from a transposed convolution, and of F W from a convolution."""
    inverse = dense_inverse(convolution, prior, noise, height, width)
    shapes = (height, width), convolution.output_shape(height, width)
    blurred = inverse @ convolution.matrix(height, width)
    return (
        transposed_distance(inverse, shapes, convolution.stride[0], border),
        toeplitz_distance(blurred, (height, width), border),
    )


SQUARE = {name: settings for name, settings in LAYERS.items() if name != "uneven"}
every_square_layer = pytest.mark.parametrize("settings", SQUARE.values(), ids=SQUARE)


@every_square_layer
def test_the_inverse_on_a_torus_is_a_transposed_convolution(settings):
    convolution = convolution_of(**settings, periodic=True)
    transposed, toeplitz = distances(convolution, smooth(convolution.channels), 0.1, *SIDES)
    assert transposed < 1e-10
    if convolution.stride == (1, 1):
        assert toeplitz < 1e-10
    else:
        assert toeplitz > 0.05


@every_square_layer
def test_edges_keep_the_inverse_from_being_one(settings):
    convolution = convolution_of(**settings)
    transposed, toeplitz = distances(convolution, smooth(convolution.channels), 0.1, *SIDES)
    if settings["kernel"] > 1:
        assert transposed > 1e-3
    assert toeplitz > 1e-3


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_correction_at_the_edges_decays_inwards(stride, padding):
    convolution = convolution_of(2, 1, 3, stride=stride, padding=padding)
    prior, noise, side = smooth(), 0.1, 17
    inverse = dense_inverse(convolution, prior, noise, side, side)
    kernel = periodic_kernel(convolution, prior, noise, 36)
    shapes = (side, side), convolution.output_shape(side, side)
    found = edge_correction(inverse, shapes, kernel)
    assert found.shape == (9,)
    assert found[0] > 0.05
    assert found[-1] < 0.1 * found[0]
    assert torch.all(found[2::2] < found[:-2:2])
    inner = [transposed_distance(inverse, shapes, stride, border) for border in (0, 2, 4, 6)]
    assert inner == sorted(inner, reverse=True)
    assert inner[-1] < 0.2 * inner[0]


def test_edge_correction_compares_pixels_as_far_from_the_edge():
    kernel = Kernel(random(2, 1, 4, 4), 2, -1)
    ideal = plain_matrix(kernel, 6, 7, 3, 3)
    inverse = ideal + random(*ideal.shape, seed=1)
    found = edge_correction(inverse, ((6, 7), (3, 3)), kernel)
    assert len(found) == 3
    for distance, value in enumerate(found):
        rows = [7 * y + x for y, x in np.ndindex(6, 7) if min(y, 5 - y, x, 6 - x) == distance]
        assert float(value) == pytest.approx(relative(inverse[rows], ideal[rows]))
    assert not edge_correction(ideal, ((6, 7), (3, 3)), kernel).any()


# ------------------------------------------------------------------------------ kernels


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("origin", [-4, -1, 0, 3])
@pytest.mark.parametrize(("height", "width"), [(7, 6), (12, 14)])
def test_a_kernel_adds_its_taps_where_it_says(stride, origin, height, width):
    kernel = Kernel(random(2, 3, 4, 4), stride, origin)
    maps = random(2, 2, 3, 4, seed=1)
    expected = torch.zeros(2, 3, height, width, dtype=torch.float64)
    for row, column, u, v in np.ndindex(3, 4, 4, 4):
        y, x = stride * row + origin + u, stride * column + origin + v
        if 0 <= y < height and 0 <= x < width:
            expected[:, :, y, x] += maps[:, :, row, column] @ kernel.weight[:, :, u, v]
    assert torch.allclose(kernel(maps, height, width), expected)


@pytest.mark.parametrize(
    ("size", "centre", "taps"),
    [
        (1, 1.0, [1]),
        (3, 1.0, [0, 1, 2]),
        (2, 1.0, [0, 1]),
        (4, -0.5, [-2, -1, 0, 1]),
        (2, -0.5, [-1, 0]),
    ],
)
def test_cut_keeps_the_taps_around_a_displacement(size, centre, taps):
    kernel = Kernel(random(2, 3, 7, 7), 2, -3)  # displacements -3 ... 3
    found = kernel.cut(size, centre)
    assert found.stride == 2
    assert found.size == size
    assert found.origin == taps[0]
    expected = kernel.weight[:, :, [t + 3 for t in taps]][:, :, :, [t + 3 for t in taps]]
    assert torch.equal(found.weight, expected)
    assert float(abs(torch.tensor(taps).double().mean() - centre)) <= 0.5


def test_a_kernel_cut_to_its_own_size_is_itself():
    for side, centre in ((6, 0.5), (7, 1.0), (6, 1.0), (7, 0.5)):
        origin = math.floor(centre - (side - 1) / 2)
        kernel = Kernel(random(1, 1, side, side), 1, origin)
        found = kernel.cut(side, centre)
        assert found.origin == origin
        assert torch.equal(found.weight, kernel.weight)


def test_the_share_beyond_falls_to_nothing():
    convolution = convolution_of(2, 1, 3, stride=2, padding=1)
    kernel = periodic_kernel(convolution, smooth(), 0.1, 12)
    found = kernel.beyond(centre_of(convolution))
    assert found.shape == (12,)
    assert found[0] <= 1
    assert found[-1].abs() < 1e-12
    assert torch.all(found.diff() < 1e-12)
    total = kernel.weight.square().sum()
    first = -1 - kernel.origin  # the middle three are -1, 0, 1
    cut = kernel.weight[:, :, first : first + 3, first : first + 3]
    assert float(found[2]) == pytest.approx(float(1 - cut.square().sum() / total))


@pytest.mark.parametrize("white", [False, True])
@every_square_layer
def test_the_periodic_kernel_is_the_inverse_on_a_torus(settings, white):
    convolution, side = convolution_of(**settings), 6
    channels = convolution.channels
    prior = StationaryPrior.white(channels) if white else smooth(channels)
    kernel = periodic_kernel(convolution, prior, 0.1, side)
    around = replace(convolution, periodic=True)
    maps = random(2, len(convolution.weight), *around.output_shape(side, side))
    expected = maps.flatten(1) @ dense_inverse(around, prior, 0.1, side, side).T
    found = kernel(maps.tile(1, 1, 3, 3), 3 * side, 3 * side)
    found = found[:, :, side : 2 * side, side : 2 * side]
    assert torch.allclose(found.flatten(1), expected)


@every_square_layer
def test_the_periodic_kernel_without_a_prior_is_the_pseudo_inverse(settings):
    convolution, side = convolution_of(**settings), 6
    kernel = periodic_kernel(convolution, None, 0.0, side)
    around = replace(convolution, periodic=True)
    maps = random(2, len(convolution.weight), *around.output_shape(side, side))
    expected = maps.flatten(1) @ dense_pseudo_inverse(around, side, side).T
    found = kernel(maps.tile(1, 1, 3, 3), 3 * side, 3 * side)
    found = found[:, :, side : 2 * side, side : 2 * side]
    assert torch.allclose(found.flatten(1), expected)


def test_the_pseudo_inverse_leaves_out_frequencies_that_are_rounding_alone():
    line = torch.tensor([1.0, 2, 1], dtype=torch.float64)  # nothing of the highest frequency
    convolution = Convolution(torch.outer(line, line)[None, None], padding=(1, 1))
    kernel = periodic_kernel(convolution, None, 0.0, 8)
    maps = random(1, 1, 8, 8)
    found = kernel(maps.tile(1, 1, 3, 3), 24, 24)[:, :, 8:16, 8:16]
    inverse = dense_pseudo_inverse(replace(convolution, periodic=True), 8, 8)
    assert torch.allclose(found.flatten(), inverse @ maps.flatten(), atol=1e-6)


def test_the_periodic_kernel_is_that_of_the_plane_where_the_torus_is_large():
    convolution = convolution_of(2, 1, 3, stride=2, padding=1)
    centre = centre_of(convolution)
    one = periodic_kernel(convolution, smooth(), 0.1, 24).cut(9, centre)
    two = periodic_kernel(convolution, smooth(), 0.1, 30).cut(9, centre)
    assert one.origin == two.origin
    assert relative(one.weight, two.weight) < 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        dict(kernel=3, stride=(2, 1)),
        dict(kernel=3, padding=(1, 0)),
        dict(kernel=(3, 2)),
        dict(kernel=3, dilation=(1, 2)),
    ],
)
def test_kernels_need_a_square_convolution(settings):
    convolution = convolution_of(2, 1, **settings)
    with pytest.raises(ValueError, match="square convolution"):
        periodic_kernel(convolution, smooth(), 0.1, 12)
    with pytest.raises(ValueError, match="square convolution"):
        Moments(convolution, smooth(), 0.1)


# ------------------------------------------------------------------------------ moments


@every_square_layer
def test_moments_are_those_of_dense_matrices_within_the_edges(settings):
    convolution, noise = convolution_of(**settings), 0.3
    channels, side, stride = convolution.channels, 15, convolution.stride[0]
    prior = smooth(channels)
    moments = Moments(convolution, prior, noise)
    rows, columns = convolution.output_shape(side, side)
    matrix, covariance = convolution.matrix(side, side), prior.matrix(side, side)
    cross = (covariance @ matrix.T).view(channels, side, side, -1, rows, columns)
    maps = matrix @ covariance @ matrix.T
    maps = (maps + noise * torch.eye(len(maps))).view(
        -1, rows, columns, len(maps) // rows // columns, rows, columns
    )
    span, padding = convolution.span[0], convolution.padding[0]
    inside = [q for q in range(rows) if 0 <= stride * q - padding <= side - span]
    assert len(inside) > 2
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for row, column in ((inside[0], inside[1]), (inside[-1], inside[len(inside) // 2])):
        found = moments.cross(stride * row - y, stride * column - x)
        assert torch.allclose(found, cross[..., row, column].permute(1, 2, 0, 3))
        for other in inside:
            for another in inside:
                found = moments.maps(other - row, another - column)
                assert torch.allclose(found, maps[:, row, column, :, other, another])
    cells = inside[:2], inside[:3]
    places = [row * columns + column for row in cells[0] for column in cells[1]]
    expected = maps.permute(1, 2, 0, 4, 5, 3).flatten(0, 1).flatten(2, 3)[places][:, :, places]
    size = len(places) * len(convolution.weight)
    assert torch.allclose(moments.window(*cells), expected.reshape(size, size))


# ------------------------------------------------------------------------------ best kernels


def torus_matrix(kernel, side):
    """A kernel as a matrix on a torus."""
    outputs, channels, size, _ = kernel.weight.shape
    cells = np.arange(side // kernel.stride)
    found = np.zeros((channels, side, side, outputs, len(cells), len(cells)))
    down, across = cells[:, None], cells[None]
    for k, c, u, v in np.ndindex(outputs, channels, size, size):
        y = (kernel.stride * down + kernel.origin + u) % side
        x = (kernel.stride * across + kernel.origin + v) % side
        found[c, y, x, k, down, across] += float(kernel.weight[k, c, u, v])
    return torch.from_numpy(found.reshape(channels * side * side, -1))


def torus_of(convolution, prior, size):
    """Side, W and Sigma on a torus round which a kernel of `size` does not meet itself."""
    stride = convolution.stride[0]
    side = -(-(size + convolution.span[0] + prior.reach) // stride) * stride
    matrix = replace(convolution, periodic=True).matrix(side, side)
    return side, matrix, prior.matrix(side, side, periodic=True)


def error_on(torus, kernel):
    side, matrix, covariance = torus
    return expected_error(torus_matrix(kernel, side), matrix, covariance, NOISE)


def with_change(kernel, index, change):
    weight = kernel.weight.clone()
    weight[index] += change
    return replace(kernel, weight=weight)


PROBLEMS = {
    "stride 1": (dict(outputs=2, inputs=1, kernel=3, padding=1), 3),
    "even size": (dict(outputs=2, inputs=1, kernel=3, padding=1), 4),
    "even kernel": (dict(outputs=2, inputs=1, kernel=2), 3),
    "both even": (dict(outputs=2, inputs=1, kernel=2), 4),
    "stride 2": (dict(outputs=3, inputs=2, kernel=3, stride=2, padding=1), 4),
    "stride 2, odd": (dict(outputs=3, inputs=1, kernel=4, stride=2), 5),
    "stride 2, halves": (dict(outputs=3, inputs=1, kernel=3, stride=2), 3),
    "stride 3": (dict(outputs=4, inputs=1, kernel=5, stride=3), 4),
    "stride 3, wide": (dict(outputs=3, inputs=1, kernel=4, stride=3, padding=1), 7),
    "dilation": (dict(outputs=2, inputs=1, kernel=3, dilation=2, padding=2), 5),
    "groups": (dict(outputs=4, inputs=2, kernel=3, padding=1, groups=2), 3),
    "far right": (dict(outputs=2, inputs=1, kernel=7), 3),
    "far left": (dict(outputs=2, inputs=1, kernel=3, padding=5), 3),
}
every_problem = pytest.mark.parametrize(("settings", "size"), PROBLEMS.values(), ids=PROBLEMS)
NOISE = 0.05


def problem(settings):
    convolution = convolution_of(**settings)
    prior = smooth(convolution.channels)
    return convolution, prior, Moments(convolution, prior, NOISE)


@every_problem
def test_best_kernel_has_the_error_it_predicts_and_no_change_lowers_it(settings, size):
    convolution, prior, moments = problem(settings)
    kernel, predicted = best_kernel(moments, size)
    torus = torus_of(convolution, prior, size)
    least = error_on(torus, kernel)
    assert kernel.weight.shape == (len(convolution.weight), convolution.channels, size, size)
    assert abs(kernel.origin + (size - 1) / 2 - centre_of(convolution)) <= 0.5
    assert predicted == pytest.approx(least, rel=1e-9)
    assert least < float(prior.variance.trace()) / prior.channels
    step = 1e-3
    taps = list(np.ndindex(*kernel.weight.shape))
    for index in taps[:: max(1, len(taps) // 12)]:
        up = error_on(torus, with_change(kernel, index, step)) - least
        down = error_on(torus, with_change(kernel, index, -step)) - least
        assert min(up, down) > 0
        assert up == pytest.approx(down, rel=1e-5)


@every_problem
def test_more_taps_are_never_worse(settings, size):
    _, _, moments = problem(settings)
    errors = [best_kernel(moments, s)[1] for s in range(1, size + 3)]
    assert all(two <= one + 1e-12 for one, two in pairwise(errors))
    assert errors[-1] < errors[0]


@every_problem
def test_a_cut_of_the_optimal_inverse_is_worse_than_the_best_kernel(settings, size):
    convolution, prior, moments = problem(settings)
    stride = convolution.stride[0]
    whole = periodic_kernel(convolution, prior, NOISE, 12 * stride)
    cut = whole.cut(size, centre_of(convolution))
    kernel, predicted = best_kernel(moments, size)
    assert cut.origin == kernel.origin
    assert error_on(torus_of(convolution, prior, size), cut) > predicted + 1e-9


def test_a_size_below_the_stride_leaves_pixels_at_their_mean():
    convolution, prior, moments = problem(dict(outputs=4, inputs=1, kernel=5, stride=3))
    kernel, predicted = best_kernel(moments, 2)
    assert predicted == pytest.approx(error_on(torus_of(convolution, prior, 2), kernel))
    images = kernel(random(1, 4, 5, 5), 15, 15)
    seen = [(p - kernel.origin) % 3 < 2 for p in range(15)]
    assert not images[:, :, [not s for s in seen]].any()


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_error_tends_to_that_of_the_optimal_inverse(stride):
    settings = dict(outputs=2 * stride, inputs=1, kernel=3, stride=stride, padding=1)
    convolution, prior, moments = problem(settings)
    around, covariance = replace(convolution, periodic=True), prior.matrix(24, 24, True)
    matrix = around.matrix(24, 24)
    inverse = best_inverse(matrix, covariance, NOISE)
    least = expected_error(inverse, matrix, covariance, NOISE)
    gaps = [best_kernel(moments, size)[1] - least for size in (3, 6, 9, 12)]
    assert gaps == sorted(gaps, reverse=True)
    assert 0 < gaps[-1] < 0.1 * gaps[0]


# ------------------------------------------------------------------------------ enlarging first


def box(taps, size, stride):
    """What makes a kernel of flipped taps: u is the sum of the taps u - stride + 1 ... u."""
    found = torch.zeros(size, taps, dtype=torch.float64)
    for u, t in np.ndindex(size, taps):
        found[u, t] = 0 <= u - t < stride
    return found


def taps_of(kernel):
    """The convolution's taps, K x C x n x n, and what the kernel has beyond a box filter of them."""
    count = kernel.size - kernel.stride + 1
    blocks = box(count, kernel.size, kernel.stride)
    inverse = torch.linalg.pinv(blocks)
    flipped = inverse @ kernel.weight @ inverse.T
    return flipped.flip(2, 3), kernel.weight - blocks @ flipped @ blocks.T


@every_problem
def test_best_resize_kernel_has_the_error_it_predicts_and_no_change_lowers_it(settings, size):
    convolution, prior, moments = problem(settings)
    kernel, predicted = best_resize_kernel(moments, size)
    torus = torus_of(convolution, prior, size)
    least = error_on(torus, kernel)
    assert kernel.size == size
    assert predicted == pytest.approx(least, rel=1e-6)
    taps, rest = taps_of(kernel)
    assert rest.abs().max() < 1e-10
    blocks = box(taps.shape[2], size, kernel.stride)
    indices = list(np.ndindex(*taps.shape))
    for index in indices[:: max(1, len(indices) // 8)]:
        change = torch.zeros_like(taps)
        change[index] = 1e-2
        change = blocks @ change @ blocks.T
        up = error_on(torus, replace(kernel, weight=kernel.weight + change)) - least
        down = error_on(torus, replace(kernel, weight=kernel.weight - change)) - least
        assert min(up, down) > 0
        assert up == pytest.approx(down, rel=1e-3)


@every_problem
def test_a_resize_kernel_is_never_better_than_the_best_kernel(settings, size):
    _, _, moments = problem(settings)
    kernel, error = best_kernel(moments, size)
    resized, other = best_resize_kernel(moments, size)
    assert resized.origin == kernel.origin
    assert other >= error * (1 - 1e-9)
    if kernel.stride == 1:
        assert other == pytest.approx(error, rel=1e-6)
        assert relative(resized.weight, kernel.weight) < 1e-5
    else:
        assert other > error * 1.001


@every_problem
def test_a_resize_kernel_enlarges_by_nearest_neighbours_and_convolves(settings, size):
    convolution, _, moments = problem(settings)
    kernel, _ = best_resize_kernel(moments, size)
    stride, taps = kernel.stride, taps_of(kernel)[0]
    count = taps.shape[2]
    block = math.floor(centre_of(convolution) - (stride - 1) / 2)
    first = block - kernel.origin - count + 1
    maps, side = random(2, len(taps), 4, 5), 14
    large = F.interpolate(maps, scale_factor=stride, mode="nearest")  # from pixel `block` on
    before, end = block - first, side + first + count - 1 - block
    large = F.pad(large, (before, end - 5 * stride, before, end - 4 * stride))
    expected = F.conv2d(large, taps.transpose(0, 1))
    assert expected.shape[2:] == (side, side)
    assert torch.allclose(kernel(maps, side, side), expected, atol=1e-10)


@pytest.mark.parametrize(("stride", "size"), [(2, 1), (3, 2)])
def test_an_enlarged_map_needs_a_kernel_as_large_as_the_stride(stride, size):
    _, _, moments = problem(dict(outputs=3, inputs=1, kernel=3, stride=stride))
    with pytest.raises(ValueError, match=f"size is {size}; it must be at least the stride"):
        best_resize_kernel(moments, size)


# ------------------------------------------------------------------------------ numbers


def test_everything_is_computed_in_double_precision():
    convolution = Convolution.of(nn.Conv2d(2, 3, 3, 2, 1))
    prior = StationaryPrior.fit([torch.randn(2, 2, 12, 12)], 4)
    maps = convolution(random(1, 2, 8, 8))
    moments = Moments(convolution, prior, 0.1)
    found = [
        convolution.weight,
        prior.mean,
        prior.autocovariance,
        prior.matrix(4, 4),
        maps,
        convolution.adjoint(maps, 8, 8),
        convolution.matrix(4, 4),
        dense_inverse(convolution, prior, 0.1, 4, 4),
        dense_pseudo_inverse(convolution, 4, 4),
        reconstruct(convolution, prior, 0.1, maps, 8, 8).images,
        periodic_kernel(convolution, prior, 0.1, 8).weight,
        periodic_kernel(convolution, None, 0.1, 8).weight,
        moments.maps(0, 1),
        best_kernel(moments, 3)[0].weight,
        best_resize_kernel(moments, 3)[0].weight,
    ]
    assert {array.dtype for array in found} == {torch.float64}
    assert prior.spectrum(4, 4).dtype == convolution.symbol(4, 4).dtype == torch.complex128
