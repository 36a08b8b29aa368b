import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deep_restoration.inversion import surrogates
from deep_restoration.inversion.surrogates import Surrogates

CPU = torch.device("cpu")
CHANNELS, COMPONENTS, SIZE = 5, 4, 8
NOISE = (0.5, 0.1)


def pictures(count=24):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8), [
        f"{i}.png" for i in range(count)
    ]


def weights(channels=CHANNELS):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(channels, 3, 3, 3, generator=draw)


def maps_of(x):
    return F.relu(F.conv2d(x - 0.5, weights()))


def blurred(x, s):
    """A denoiser of sorts: the mean of 3 x 3 pixels, the more the noisier."""
    mean = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    return x + s / (s + 0.1) * (mean - x)


@pytest.fixture(scope="module")
def fitted():
    pixels, names = pictures()
    return surrogates.fit(maps_of, blurred, pixels, names, NOISE, COMPONENTS, 7, CPU)


def clean():
    return torch.from_numpy(pictures()[0]).permute(0, 3, 1, 2).float() / 255


def noisy_maps(level):
    """Maps of the denoised noisy images, as fit draws them."""
    from deep_restoration.runtime import seeds

    drawn = [
        torch.randn((3, SIZE, SIZE), generator=seeds.generator(7, "surrogates", level, name))
        for name in pictures()[1]
    ]
    noise = 0.5 * NOISE[level] * torch.stack(drawn)
    return maps_of(blurred(clean() + noise, NOISE[level]))


def positions(maps):
    """Vectors, one per row, of maps N x C x H x W."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).double().numpy()


def test_components_are_those_of_the_covariance_over_channels(fitted):
    vectors = positions(maps_of(clean()))
    _values, axes = np.linalg.eigh(np.cov(vectors.T, bias=True))
    assert np.allclose(fitted.centre, vectors.mean(0), atol=1e-5)
    for number, row in enumerate(fitted.components.double().numpy()):
        assert abs(row @ axes[:, -1 - number]) == pytest.approx(1, abs=1e-5)
    assert fitted.components.shape == (COMPONENTS, CHANNELS)


@pytest.mark.parametrize("level", [0, 1])
def test_a_level_is_the_regression_by_hand(fitted, level):
    """A, b and R by loops over positions, from the formula in the module's docstring."""
    U = fitted.components.double().numpy()
    wanted = (positions(maps_of(clean())) - fitted.centre.double().numpy()) @ U.T
    guessed = (positions(noisy_maps(level)) - fitted.centre.double().numpy()) @ U.T
    each = len(wanted) // 24
    held = np.repeat(np.arange(24) % 4 == 3, each)

    def regressed(chosen):
        f, y = guessed[chosen], wanted[chosen]
        gram = sum(np.outer(v, v) for v in f - f.mean(0)) / len(f)
        cross = sum(np.outer(w, v) for v, w in zip(f - f.mean(0), y - y.mean(0), strict=True))
        A = cross / len(f) @ np.linalg.inv(gram + 0.003 * np.diag(np.diag(gram)))
        return A, y.mean(0) - A @ f.mean(0)

    A, b = regressed(~held)
    left = wanted - guessed @ A.T - b
    growth = max(1, np.square(left[held]).mean() / np.square(left[~held]).mean())
    A, b = regressed(np.full(len(held), True))
    left = wanted - guessed @ A.T - b
    R = growth * left.T @ left / len(left)
    R += 0.02 * np.trace(R) / COMPONENTS * np.eye(COMPONENTS)
    W = fitted.levels[level].whitening.double().numpy()
    assert np.allclose(W @ R @ W, np.eye(COMPONENTS), atol=1e-4)
    assert np.allclose(fitted.levels[level].expected, W @ A, atol=1e-4)
    assert np.allclose(fitted.levels[level].offset, W @ b, atol=1e-4)


@pytest.mark.parametrize("kind", ["whitened", "plain"])
def test_simpler_surrogates_compare_the_maps_as_they_are(fitted, kind):
    """A = I, b = 0, and an R of the form that its kind has, as large as what is left."""
    pixels, names = pictures()
    found = surrogates.fit(maps_of, blurred, pixels, names, NOISE, COMPONENTS, 7, CPU, kind)
    U = fitted.components.double().numpy()
    wanted = (positions(maps_of(clean())) - fitted.centre.double().numpy()) @ U.T
    shape = np.cov(wanted.T, bias=True) if kind == "whitened" else np.eye(COMPONENTS)
    held = np.repeat(np.arange(24) % 4 == 3, len(wanted) // 24)
    for number, level in enumerate(found.levels):
        assert torch.equal(level.expected, level.whitening)
        assert not level.offset.any()
        left = np.square(wanted - (positions(noisy_maps(number)) - fitted.centre.numpy()) @ U.T)
        size = left.mean() * max(1, left[held].mean() / left[~held].mean()) * COMPONENTS
        W = level.whitening.double().numpy()
        expected = size * shape / np.trace(shape) + 0.02 * size / COMPONENTS * np.eye(COMPONENTS)
        assert np.allclose(np.linalg.inv(W @ W), expected, rtol=1e-3, atol=1e-4 * size)
        assert found.explained[number] < fitted.explained[number]


@pytest.mark.parametrize("level", [0, 1])
def test_residuals_are_what_is_left_whitened(fitted, level):
    maps, wanted = noisy_maps(level), maps_of(clean())
    target = fitted.target(level, fitted.leading(wanted))
    found = fitted.residual(level, maps, target)
    W = fitted.levels[level].whitening.double()
    A = torch.linalg.solve(W, fitted.levels[level].expected.double())
    b = torch.linalg.solve(W, fitted.levels[level].offset.double())
    U, m = fitted.components.double(), fitted.centre.double()
    for image, y, x in ((0, 1, 2), (5, 0, 3)):
        f, t = (U @ (part[image, :, y, x].double() - m) for part in (maps, wanted))
        place = y * wanted.shape[3] + x
        assert torch.allclose(found[image, :, place].double(), W @ (t - A @ f - b), atol=1e-4)
    # Of natural images they have about unit variance, less what R was made larger by.
    assert 0.5 < found.square().mean() < 1.05


def test_less_noise_explains_more(fitted):
    assert 0 < fitted.explained[0] < fitted.explained[1] <= 1


def test_noise_depends_on_the_names_alone(fitted):
    pixels, names = pictures()
    order = [2, 0, 1, 3, *range(4, 24)]  # the same ones are held out
    again = surrogates.fit(
        maps_of, blurred, pixels[order], [names[i] for i in order], NOISE, COMPONENTS, 7, CPU
    )
    for mine, other in zip(fitted.levels, again.levels, strict=True):
        assert torch.allclose(mine.whitening, other.whitening, atol=1e-3)


def test_channels_that_never_vary_have_no_component():
    def dead(x):
        maps = maps_of(x)
        return torch.cat([maps, torch.zeros_like(maps[:, :2])], 1)

    pixels, names = pictures(8)
    found = surrogates.fit(dead, blurred, pixels, names, NOISE, 64, 7, CPU)
    assert found.components.shape == (CHANNELS, CHANNELS + 2)
    assert not found.components[:, CHANNELS:].any()
    assert all(torch.isfinite(part).all() for level in found.levels for part in level)


def test_flat_layers_have_one_position():
    def flat(x):
        return maps_of(x).mean((2, 3))

    pixels, names = pictures()
    found = surrogates.fit(flat, blurred, pixels, names, NOISE, 3, 7, CPU)
    assert found.leading(flat(clean())).shape == (24, 3, 1)


def test_files_give_back_what_was_saved(tmp_path, fitted):
    fitted.save(tmp_path / "a.safetensors", {})
    found = Surrogates.load(tmp_path / "a.safetensors")
    assert found.noise == list(NOISE)
    assert found.explained == fitted.explained
    assert torch.equal(found.components, fitted.components)
    for mine, other in zip(found.levels, fitted.levels, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize(
    ("components", "places", "known", "wanted"),
    [(64, 3844, 500, 64), (64, 225, 500, 64), (96, 49, 500, 196), (96, 49, 100, 100)],
)
def test_few_positions_take_more_images(components, places, known, wanted):
    assert surrogates.images_needed(components, places, known) == wanted
