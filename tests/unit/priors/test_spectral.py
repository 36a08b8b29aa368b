"""The stationary Gaussian: its closed forms against dense covariance matrices, and what is learned of it."""

import math

import numpy as np
import pytest
import scipy.fft
import torch

from deep_restoration.data import images, inventory, splits
from deep_restoration.files.tensors import load_tensors
from deep_restoration.priors import annealing, denoising, spectral
from deep_restoration.priors.base import Calibrated
from deep_restoration.priors.registry import load
from deep_restoration.priors.spectral import Spectral

pytestmark = pytest.mark.usefixtures("one_thread")

CHANNELS, HEIGHT, WIDTH = 2, 3, 4


def prior(channels=CHANNELS, height=HEIGHT, width=WIDTH, sigma=0.4, seed=0, **options):
    """One with any spectrum, basis and centre."""
    draw = np.random.default_rng(seed)
    basis = np.linalg.qr(draw.standard_normal((channels, channels)))[0]
    variances = np.exp(draw.standard_normal((channels, height, width)))
    centre = draw.standard_normal(channels)
    parts = (torch.from_numpy(x) for x in (centre, basis, variances))
    return Spectral(*parts, sigma, **{"facts": {"sigma": 5.0}} | options)


def maps(count=3, channels=CHANNELS, height=HEIGHT, width=WIDTH, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, height, width, generator=draw, dtype=dtype)


def cosine(k, i, size):
    scale = math.sqrt((1 if k == 0 else 2) / size)
    return scale * math.cos(math.pi * k * (2 * i + 1) / (2 * size))


def dense(one):
    """Mean and covariance of the values of a map, in the order of flatten(), by loops."""
    channels, height, width = one.variances.shape
    every = list(np.ndindex(channels, height, width))
    waves = np.empty((len(every), len(every)))
    for row, (c, k, m) in enumerate(every):
        for column, (d, i, j) in enumerate(every):
            waves[row, column] = float(one.basis[c, d]) * cosine(k, i, height) * cosine(m, j, width)
    covariance = waves.T @ np.diag(one.variances.flatten().numpy()) @ waves
    return np.repeat(one.centre.numpy(), height * width), covariance


# ------------------------------------------------------------------------------ the transform


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2), (8, 8), (13, 9)])
def test_the_transform_is_that_of_scipy(size):
    x = maps(2, 3, *size)
    rows, columns = map(spectral.dct_matrix, size)
    expected = scipy.fft.dctn(x.numpy(), type=2, norm="ortho", axes=(2, 3))
    np.testing.assert_allclose((rows @ x @ columns.T).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2), (13, 9)])
def test_maps_of_coefficients_of_maps_are_the_maps(size):
    x, one = maps(2, 3, *size), prior(3, *size)
    sized = one._of(x)
    torch.testing.assert_close(sized.synthesise(sized.analyse(x)), x, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("sigma", [0.05, 0.4, 3.0])
def test_denoising_gives_the_posterior_mean(sigma):
    one, x = prior(), maps()
    mean, covariance = dense(one)
    noisy = covariance + sigma**2 * np.eye(len(mean))
    deviation = x.flatten(1).numpy() - mean
    expected = mean + deviation @ np.linalg.solve(noisy, covariance)
    found = one.denoise(x, sigma).flatten(1).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert torch.equal(prior(sigma=sigma).denoise(x), one.denoise(x, sigma))


def test_every_map_has_its_own_noise_level():
    one, x, levels = prior(), maps(), torch.tensor([0.1, 0.5, 2.0])
    alone = [one.denoise(x[i : i + 1], float(levels[i])) for i in range(3)]
    torch.testing.assert_close(one.denoise(x, levels), torch.cat(alone), rtol=0, atol=1e-7)
    assert (one.denoise(x, 0.1) - one.denoise(x, levels))[1:].abs().max() > 0.1


def test_without_noise_maps_stay_as_they_are_and_in_much_the_centre_is_left():
    one, x = prior(), maps()
    torch.testing.assert_close(one.denoise(x, 0.0), x, rtol=0, atol=1e-12)
    centre = one.centre.view(1, -1, 1, 1).expand_as(x)
    torch.testing.assert_close(one.denoise(x, 1e6), centre, rtol=0, atol=1e-9)


def test_autograd_goes_through_denoising():
    """The derivative of the posterior mean is covariance (covariance + s^2)^(-1)."""
    one, x, weights = prior(), maps(1), maps(1, seed=1)
    mean, covariance = dense(one)
    x.requires_grad_()
    (found,) = torch.autograd.grad((weights * one.denoise(x, 0.4)).sum(), x)
    noisy = covariance + 0.4**2 * np.eye(len(mean))
    expected = np.linalg.solve(noisy, covariance) @ weights.flatten().numpy()
    np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.05, 0.4, 3.0])
def test_energy_and_gradient_are_those_of_the_density_of_noisy_maps(sigma):
    one, x = prior(sigma=sigma), maps().requires_grad_()
    mean, covariance = dense(one)
    noisy = covariance + sigma**2 * np.eye(len(mean))
    deviation = x.detach().flatten(1).numpy() - mean
    slopes = np.linalg.solve(noisy, deviation.T).T
    energy = one.energy(x)
    np.testing.assert_allclose(
        energy.detach().numpy(), 0.5 * (deviation * slopes).sum(1), rtol=1e-11
    )
    found = one.gradient(x.detach())
    np.testing.assert_allclose(found.flatten(1).numpy(), slopes, rtol=1e-9, atol=1e-9)
    (slope,) = torch.autograd.grad(energy.sum(), x)
    torch.testing.assert_close(slope, found, rtol=1e-11, atol=1e-11)
    assert torch.autograd.gradcheck(one.energy, x)


def test_the_gradient_is_what_denoising_removes():
    """Tweedie's formula: (x - D(x)) / sigma^2."""
    one, x = prior(), maps()
    removed = (x - one.denoise(x)) / one.sigma**2
    torch.testing.assert_close(one.gradient(x), removed, rtol=0, atol=1e-11)


def test_samples_have_mean_and_covariance_of_the_prior():
    one, count = prior(), 40_000
    mean, covariance = dense(one)
    shape = (count, CHANNELS, HEIGHT, WIDTH)
    found = one.sample(shape, torch.Generator().manual_seed(0))
    assert found.shape == shape
    assert found.dtype == torch.float32
    flat = found.flatten(1).double().numpy()
    spread = np.sqrt(np.diag(covariance))
    assert np.abs((flat.mean(0) - mean) / spread).max() < 5 / math.sqrt(count)
    errors = np.cov(flat.T, bias=True) - covariance
    assert np.abs(errors / np.outer(spread, spread)).max() < 7 / math.sqrt(count)
    assert torch.equal(found, one.sample(shape, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_the_error_of_denoising_is_the_expected_one(sigma):
    one = prior()
    mean, covariance = dense(one)
    noisy = covariance + sigma**2 * np.eye(len(mean))
    left = covariance - covariance @ np.linalg.solve(noisy, covariance)
    assert float(one.error(sigma)) == pytest.approx(np.trace(left) / len(mean), rel=1e-11)
    clean = one.sample((20_000, CHANNELS, HEIGHT, WIDTH), torch.Generator().manual_seed(0))
    noise = maps(20_000, seed=3, dtype=torch.float32)
    error = (one.denoise(clean + sigma * noise, sigma) - clean).square().mean()
    assert float(one.error(sigma)) == pytest.approx(float(error), rel=0.02)


def test_errors_of_many_levels_and_of_another_size():
    one, levels = prior(), torch.tensor([[0.1, 0.5], [1.0, 3.0]])
    found = one.error(levels)
    for value, level in zip(found.flatten(), levels.flatten(), strict=True):
        assert float(value) == pytest.approx(float(one.error(float(level))), rel=1e-6)
    v = one.variances_of(6, 5)
    assert float(one.error(0.5, (6, 5))) == pytest.approx(float((v / (4 * v + 1)).mean()), rel=1e-9)


def test_what_was_computed_in_inference_mode_serves_autograd():
    one, x = prior(), maps()
    with torch.inference_mode():
        one.energy(x)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(one.energy(x).sum(), x)
    torch.testing.assert_close(slope, one.gradient(x.detach()))


# ------------------------------------------------------------------------------ precision and sizes


def test_float32_is_close_to_float64():
    one = prior(3, 64, 48, sigma=0.02)
    x = one.sample((2, 3, 64, 48), torch.Generator().manual_seed(0))
    for ask in (one.denoise, one.energy, one.gradient):
        single, double = ask(x), ask(x.double())
        assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
        largest = double.abs().max()
        torch.testing.assert_close(single.double() / largest, double / largest, rtol=0, atol=2e-6)


def test_mixed_precision_does_not_lower_it():
    one, x = prior(), maps(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        lowered = [ask(x) for ask in (one.denoise, one.energy, one.gradient)]
    for found, ask in zip(lowered, (one.denoise, one.energy, one.gradient), strict=True):
        assert torch.equal(found, ask(x))


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (7, 8)])
def test_maps_of_any_size_can_be_asked_of(size):
    one, x = prior(), maps(2, CHANNELS, *size)
    assert one.denoise(x).shape == x.shape
    assert one.energy(x).shape == (2,)
    other = Spectral(one.centre, one.basis, one.variances_of(*size), one.sigma)
    torch.testing.assert_close(one.gradient(x), other.gradient(x))
    assert one.positions(x) == CHANNELS * size[0] * size[1]
    before = maps()  # a map of the first size is not taken for one of the other
    torch.testing.assert_close(one.energy(before), prior().energy(before))


def test_it_moves_to_a_device():
    one = prior().to(torch.device("meta"))
    assert {x.device.type for x in (one.centre, one.basis, one.variances)} == {"meta"}


# ------------------------------------------------------------------------------ other sizes


@pytest.mark.parametrize(("size", "known"), [(8, 4), (4, 8), (7, 5), (5, 5), (6, 1), (1, 6)])
def test_values_are_interpolated_on_the_axis_of_frequencies(size, known):
    values = np.random.default_rng(0).standard_normal(known)
    cycles = (np.arange(n) / (2 * n) for n in (size, known))
    expected = np.interp(*cycles, values)  # which keeps the last value beyond the last place
    found = spectral.interpolation(size, known).numpy() @ values
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_variances_are_interpolated_by_their_logarithms():
    one = prior()
    assert torch.equal(one.variances_of(HEIGHT, WIDTH), one.variances)
    tall = one.variances_of(2 * HEIGHT, WIDTH)
    torch.testing.assert_close(tall[:, ::2], one.variances)
    between = (one.variances[:, 0] * one.variances[:, 1]).sqrt()
    torch.testing.assert_close(tall[:, 1], between)
    torch.testing.assert_close(tall[:, -1], one.variances[:, -1])


def stationary(size, length):
    """The variances of the coefficients of maps of a size whose covariance is exp(-distance / length) along
    either axis: the diagonals of D K D'."""
    found = []
    for n in size:
        covariance = np.exp(-np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / length)
        waves = np.array([[cosine(k, i, n) for i in range(n)] for k in range(n)])
        found.append(np.diag(waves @ covariance @ waves.T))
    return torch.from_numpy(np.outer(*found))[None]


@pytest.mark.parametrize("other", [(32, 32), (32, 48), (8, 12), (23, 17)])
@pytest.mark.parametrize("known", [(16, 16), (16, 24)])
@pytest.mark.parametrize("length", [0.7, 2.0])
def test_variances_of_other_sizes_are_those_of_the_same_stationary_maps(length, known, other):
    """In the middle within 15 %; at the lowest, where maps end before correlations do, 45 %."""
    one = Spectral(
        torch.zeros(1, dtype=torch.float64),
        torch.eye(1, dtype=torch.float64),
        stationary(known, length),
        0.1,
    )
    ratio = one.variances_of(*other) / stationary(other, length)
    rows, columns = (slice(n // 4, n - n // 4) for n in other)
    middle = ratio[:, rows, columns]
    assert 0.85 < float(middle.min()) <= float(middle.max()) < 1.15
    assert 0.7 < float(ratio.min()) <= float(ratio.max()) < 1.45


# ------------------------------------------------------------------------------ training


def literal(data):
    """Centre, basis and spectrum as they are defined, by NumPy and SciPy, of maps as floats."""
    data = data.astype(np.float64)
    centre = data.mean((0, 2, 3))
    deviation = data - centre[:, None, None]
    covariance = np.einsum("nchw,ndhw->cd", deviation, deviation) / data[:, 0].size
    values, vectors = np.linalg.eigh(covariance)
    basis = vectors[:, np.argsort(-values)].T
    for row in basis:
        row *= np.sign(row[np.argmax(np.abs(row))])
    mixed = np.einsum("dc,nchw->ndhw", basis, deviation)
    power = (scipy.fft.dctn(mixed, norm="ortho", axes=(2, 3)) ** 2).mean(0)
    return centre, basis, power


@pytest.mark.parametrize("shape", [(50, 3, 6, 9), (40, 1, 5, 5), (60, 7, 1, 1)])
def test_training_finds_what_is_defined(shape):
    draw = np.random.default_rng(0)
    mix = draw.standard_normal((shape[1], shape[1]))
    data = np.einsum("dc,nchw->ndhw", mix, 3 + draw.standard_normal(shape)).astype(np.float32)
    one, _ = spectral.train(data[:-5], data[-5:], 7.0)
    centre, basis, power = literal(data[:-5])
    np.testing.assert_allclose(one.centre.numpy(), centre, rtol=1e-10)
    np.testing.assert_allclose(one.basis.numpy(), basis, rtol=0, atol=1e-8)
    floor = spectral.FLOOR * power.mean()
    np.testing.assert_allclose(one.variances.numpy(), power + floor, rtol=1e-7)
    assert one.sigma == pytest.approx(0.07 * data[:-5].std(), rel=1e-4)
    assert one.facts == {"sigma": 7.0}


def test_a_planted_spectrum_is_recovered():
    planted, count = prior(3, 8, 6), 6000
    planted.variances *= torch.tensor([9.0, 3.0, 1.0])[:, None, None]
    every = planted.sample((count, 3, 8, 6), torch.Generator().manual_seed(0)).numpy()
    found, _ = spectral.train(every, every[:10], 5.0)
    same = (found.basis @ planted.basis.T).abs()
    torch.testing.assert_close(same, torch.eye(3, dtype=same.dtype), rtol=0, atol=0.03)
    ratio = found.variances / planted.variances
    assert (ratio - 1).abs().max() < 5 * math.sqrt(2 / count)
    assert (found.centre - planted.centre).abs().max() < 0.05


def test_a_ring_of_frequencies_has_their_mean_power():
    """By a loop over pairs of frequencies."""
    power = torch.rand(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def ring(k, j):
        return round(6 * math.log2(math.hypot(k / 14, j / 10))) if k or j else None

    found = spectral.radial(power)
    for c, k, j in np.ndindex(2, 7, 5):
        same = [power[c, m, n] for m, n in np.ndindex(7, 5) if ring(m, n) == ring(k, j)]
        assert found[c, k, j] == pytest.approx(float(sum(same) / len(same)), rel=1e-12)
    assert torch.equal(found[:, 0, 0], power[:, 0, 0])


def test_an_isotropic_prior_is_the_likeliest_of_them():
    """What is the same in all directions is found; the objective of what is not is worse."""
    turned = spectral.radial(prior(3, 8, 8).variances)
    planted = prior(3, 8, 8)
    planted.variances = turned
    every = planted.sample((4000, 3, 8, 8), torch.Generator().manual_seed(0)).numpy()
    found, history = spectral.train(every, every[:10], 5.0, isotropic=True)
    free, better = spectral.train(every, every[:10], 5.0)
    error = [(one.variances / turned - 1).abs().mean() for one in (found, free)]
    assert error[0] < 0.6 * error[1]
    assert better[0][1] < history[0][1] < better[0][1] + 0.01


def test_images_are_bytes_in_steps_of_one_in_255():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3, 5, 6), dtype=np.uint8)
    one, _ = spectral.train(pixels, pixels[:3], 5.0)
    other, _ = spectral.train(pixels.astype(np.float32) / 255, pixels[:3], 5.0)
    assert one.sigma == pytest.approx(5 / 255)
    torch.testing.assert_close(one.variances, other.variances, rtol=1e-5, atol=0)
    torch.testing.assert_close(one.centre, torch.from_numpy(pixels.mean((0, 2, 3)) / 255))


def test_the_history_is_the_likelihood_of_training_and_held_out_maps():
    planted = prior()
    every = planted.sample((60, CHANNELS, HEIGHT, WIDTH), torch.Generator().manual_seed(0))
    one, history = spectral.train(every[:50].numpy(), every[50:].numpy(), 5.0)
    ((step, *objectives, seconds),) = history
    mean, covariance = dense(one)
    for part, objective in zip((every[:50], every[50:]), objectives, strict=True):
        deviation = part.flatten(1).double().numpy() - mean
        squares = (deviation * np.linalg.solve(covariance, deviation.T).T).sum(1).mean()
        logarithm = np.linalg.slogdet(2 * math.pi * covariance)[1]
        assert objective == pytest.approx(0.5 * (squares + logarithm) / len(mean), rel=1e-9)
    assert objectives[0] < objectives[1]
    assert step == 1
    assert seconds > 0


def test_channels_that_are_never_active_are_learned_from_too():
    data = np.random.default_rng(0).standard_normal((30, 4, 5, 5)).astype(np.float32)
    data[:, 2] = 0
    one, history = spectral.train(data[:-4], data[-4:], 5.0)
    assert math.isfinite(history[0][2])
    assert float(one.variances.min()) == pytest.approx(
        spectral.FLOOR * float(one.variances.mean()), rel=1e-3
    )
    noisy = torch.from_numpy(data) + 0.1 * maps(30, 4, 5, 5, dtype=torch.float32)
    assert one.denoise(noisy, 0.1)[:, 2].abs().max() < 0.01


def test_flat_maps_can_be_learned_from():
    flat = np.full((6, 2, 4, 4), 2.5, np.float32)
    one, history = spectral.train(flat, flat[:2], 5.0)
    assert math.isfinite(history[0][1])
    torch.testing.assert_close(one.denoise(torch.from_numpy(flat), 1.0), torch.from_numpy(flat))


def test_many_channels():
    codes = np.random.default_rng(0).standard_normal((40, 512, 2, 3)).astype(np.float32)
    one, history = spectral.train(codes[:-4], codes[-4:], 5.0)
    assert one.channels == 512
    assert all(map(math.isfinite, history[0]))
    assert torch.isfinite(one.energy(torch.from_numpy(codes))).all()


# ------------------------------------------------------------------------------ as a learned prior


def test_a_stored_prior_is_the_same(tmp_path):
    path, x = tmp_path / "spectrum.safetensors", maps(dtype=torch.float32)
    one = prior(sigma=0.25, mean=1.5, spread=0.125)
    one.facts["of"] = "grey"
    one.save(path, {"settings": {"seed": 1}})
    for found in (annealing.load(path), load(path)):
        for ask in ("denoise", "energy", "gradient"):
            assert torch.equal(getattr(found, ask)(x), getattr(one, ask)(x))
    assert (found.kind, found.channels, found.sigma) == ("wiener", CHANNELS, 0.25)
    assert (found.mean, found.spread, found.facts) == (1.5, 0.125, one.facts)
    assert load_tensors(path, "prior")[1]["settings"] == {"seed": 1}


def test_another_noise_level_can_be_asked_for(tmp_path):
    path, x = tmp_path / "spectrum.safetensors", maps()
    prior(sigma=0.25).save(path, {})  # 5.0 in the units of the configuration
    found = load(path, sigma=[18.0, 2.0])
    torch.testing.assert_close(found.energy(x), prior(sigma=0.9).energy(x))
    for progress, level in ((0.0, 0.9), (0.5, 0.3), (1.0, 0.1)):
        Calibrated(found).anneal(progress)
        assert found.sigma == pytest.approx(level)
    unchanged = load(path)
    unchanged.anneal(0.5)
    assert unchanged.sigma == 0.25
    with pytest.raises(ValueError, match=r"holds a wiener, which has no option border.*sigma"):
        load(path, border="valid")


def test_the_energy_of_its_own_samples_is_half_a_value_each():
    one = prior(3, 16, 16, sigma=1e-3)
    x = one.sample((500, 3, 16, 16), torch.Generator().manual_seed(0))
    one.calibrate(x.split(100))
    assert one.mean == pytest.approx(0.5, rel=0.01)
    assert one.spread == pytest.approx(math.sqrt(0.5 / one.positions(x)), rel=0.15)


@pytest.mark.parametrize("weight", [0.3, 1.0, 4.0])
def test_the_most_probable_image_is_what_descent_would_find(weight):
    one, y, sigma = prior(sigma=0.0), maps(), 0.5
    found = denoising.most_probable(one, sigma, y, weight)
    limits = {"tolerance": 1e-10, "iterations": 3000}
    expected = denoising.denoise(one.gradient, y, sigma, weight, **limits)
    torch.testing.assert_close(found.images, expected.images, rtol=0, atol=1e-8)
    assert (found.iterations, found.residual) == (0, 0.0)


# ------------------------------------------------------------------------------ photographs

# dB of a filter of 300 to 400 photographs of 128 pixels, measured by other code than this.
PSNR = {0.02: 37.0, 0.05: 31.1, 0.1: 27.4, 0.2: 24.4, 0.5: 21.3, 1.0: 19.4, 2.0: 17.6}


@pytest.fixture(scope="module")
def photographs(real_data):
    """Of 128 pixels, N x 3 x 128 x 128: to learn from, and others."""
    folder = real_data / "data" / "imagenet-sample" / "train"
    if not folder.is_dir():
        pytest.skip("RESTORATION_DATA holds no photographs of ImageNet")
    names = splits.evenly_spaced(list(inventory.image_files(folder)), 400)
    read = images.folder_images(folder, names, 128, 1)
    found = [x for _, x in read if not isinstance(x, images.UnusableImage)]
    pixels = np.stack(found).transpose(0, 3, 1, 2)
    kept = splits.held_out(len(pixels), 0.2)
    return pixels[~kept], pixels[kept]


def test_photographs_are_denoised_as_well_as_a_wiener_filter_can(photographs):
    learned, others = photographs
    one, history = spectral.train(learned, others, 5.0)
    assert history[0][2] - history[0][1] < 0.2
    clean = torch.from_numpy(others).float() / 255
    for sigma, expected in PSNR.items():
        noisy = denoising.add_noise(clean, [str(i) for i in range(len(clean))], sigma, 0)
        found = denoising.psnr(clean, one.denoise(noisy, sigma)).mean()
        assert float(found) == pytest.approx(expected, abs=0.7), sigma


def test_the_spectrum_of_photographs_is_that_of_their_quarters(photographs):
    """But for the means of rows, columns and maps: photographs are no larger than what correlates in them."""
    learned, others = photographs
    whole, _ = spectral.train(learned, others, 5.0)
    parts = [learned[..., i : i + 64, j : j + 64] for i in (0, 64) for j in (0, 64)]
    quarter, _ = spectral.train(np.concatenate(parts), others[..., :64, :64], 5.0)
    ratio = quarter.variances_of(128, 128) / whole.variances
    middle = ratio[:, 8:-8, 8:-8].log()
    assert middle.mean().abs() < 0.1
    assert middle.std() < 0.2
    assert (ratio[:, 0, 0] > 0.2).all()
    assert (ratio[:, 0, 0] < 0.5).all()
