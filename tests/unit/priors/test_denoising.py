"""Denoising under a prior: what is minimised, how far, and what is measured."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from deep_restoration.data import images, splits
from deep_restoration.evaluation import metrics
from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, write_array, write_names
from deep_restoration.priors import denoising
from deep_restoration.priors.base import SHARP
from deep_restoration.priors.denoiser import Denoiser
from deep_restoration.priors.field import FieldOfExperts
from deep_restoration.runtime import devices

SIGMA = 0.1


@pytest.fixture(scope="module")
def photographs():
    """Three crops of photographs, N x 3 x 24 x 24."""
    crops = [crop for _, crop in images.embedded_crops("test", 3, 24, 0)]
    return images.as_tensor(np.stack(crops))


@pytest.fixture(scope="module")
def noisy(photographs):
    return denoising.add_noise(photographs, ["a", "b", "c"], SIGMA, 0)


# ------------------------------------------------------------------------------ quadratic energies


@pytest.fixture(scope="module")
def matrix():
    """Of an energy x'Ax / 2 over 2 x 3 x 4 values, its eigenvalues from 0 to 200."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((24, 24)))[0]
    values = np.concatenate([[0], np.geomspace(0.1, 200, 23)])
    return torch.from_numpy(basis * values @ basis.T)


def quadratic(matrix):
    return lambda x: (x.flatten(1) @ matrix).view_as(x)


def given(count, scale=1.0):
    draw = torch.Generator().manual_seed(1)
    return scale * torch.randn(count, 2, 3, 4, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("weight", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_a_quadratic_energy_has_its_closed_form(weight, sigma, matrix):
    y = given(4)
    found = denoising.denoise(quadratic(matrix), y, sigma, weight, tolerance=1e-9, iterations=3000)
    system = torch.eye(24, dtype=torch.float64) / sigma**2 + weight * matrix
    expected = torch.linalg.solve(system, y.flatten(1).T / sigma**2).T.view_as(y)
    torch.testing.assert_close(found.images, expected, rtol=0, atol=1e-8)
    assert found.residual < 1e-9
    assert (found.iterations == 0) == (weight == 0)


def test_images_of_a_batch_are_reconstructed_as_alone(matrix):
    y = given(3) * torch.tensor([0.1, 1.0, 30.0])[:, None, None, None]
    together = denoising.denoise(quadratic(matrix), y, 1.0, 2.0, tolerance=1e-6, iterations=3000)
    alone = [
        denoising.denoise(quadratic(matrix), x[None], 1.0, 2.0, tolerance=1e-6, iterations=3000)
        for x in y
    ]
    torch.testing.assert_close(
        together.images, torch.cat([one.images for one in alone]), rtol=1e-9, atol=1e-12
    )
    counts = [one.iterations for one in alone]
    assert together.iterations == max(counts) > min(counts)
    assert together.residual == pytest.approx(max(one.residual for one in alone), rel=1e-3)


def test_converged_images_stay_where_they_are(matrix):
    y = given(2)
    y[0] = 0.0  # the minimum already
    seen = []

    def gradient(x):
        seen.append(x.clone())
        return quadratic(matrix)(x)

    found = denoising.denoise(gradient, y, 1.0, 1.0, tolerance=1e-6, iterations=1000)
    assert len(seen) > 10
    assert all(torch.equal(x[0], y[0]) for x in seen)
    assert torch.equal(found.images[0], y[0])
    assert not torch.equal(found.images[1], y[1])


@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_images_that_have_not_converged_are_told_by_their_residual(iterations, matrix):
    y, sigma, weight = given(3), 0.5, 1.0
    gradient = quadratic(matrix)
    found = denoising.denoise(gradient, y, sigma, weight, tolerance=1e-9, iterations=iterations)
    x = found.images
    step = sigma**2 * ((x - y) / sigma**2 + weight * gradient(x))
    assert found.iterations == iterations
    assert found.residual > 1e-9
    assert found.residual == pytest.approx(float(step.square().mean((1, 2, 3)).sqrt().max()))


def test_the_noisy_images_stay_as_they_were(matrix):
    y = given(2)
    before = y.clone()
    denoising.denoise(quadratic(matrix), y, 1.0, 1.0)
    assert torch.equal(y, before)


# ------------------------------------------------------------------------------ experts


def experts():
    """Student-t experts on the differences of neighbours and on other filters of 3 x 3."""
    draw = torch.Generator().manual_seed(5)
    filters = torch.randn(8, 3, 3, 3, generator=draw)
    filters -= filters.mean((1, 2, 3), keepdim=True)
    return FieldOfExperts(8 * filters, torch.zeros(8), torch.full((8,), 0.5), "student_t")


@pytest.mark.parametrize("weight", [0.3, 3.0])
def test_heavy_tailed_experts_converge_below_the_start(weight, noisy):
    prior, tolerance = experts(), 0.01 / 255

    def objective(x):
        data = (x - noisy).double().square().sum((1, 2, 3)) / (2 * SIGMA**2)
        return data + weight * prior.energy(x.double())

    found = denoising.most_probable(
        prior, SIGMA, noisy, weight, tolerance=tolerance, iterations=1000
    )
    x = found.images.double().requires_grad_()
    (slope,) = torch.autograd.grad(objective(x).sum(), x)
    assert found.residual < tolerance
    assert float(SIGMA**2 * slope.square().mean((1, 2, 3)).sqrt().max()) < 1.01 * tolerance
    assert (objective(found.images) < objective(noisy) - 1).all()
    start = SIGMA**2 * weight * prior.gradient(noisy)
    assert float(start.square().mean().sqrt()) > 100 * tolerance


def test_reconstructing_needs_no_autograd_graph(noisy):
    found = denoising.most_probable(
        experts(), SIGMA, noisy.clone().requires_grad_(), 1.0, iterations=2
    )
    assert not found.images.requires_grad


# ------------------------------------------------------------------------------ denoisers


class Shrinking(Denoiser):
    """The best denoiser of white images of standard deviation `spread`."""

    spread = 0.3

    def __init__(self):
        pass

    def denoise(self, x, sigma):
        return x * self.spread**2 / (self.spread**2 + sigma**2)


def test_under_an_exact_denoiser_the_result_is_the_posterior_mean(noisy):
    found = denoising.posterior_mean(
        Shrinking(), SIGMA, noisy.double(), 1.0, tolerance=1e-9, iterations=500
    )
    mean = noisy.double() * Shrinking.spread**2 / (Shrinking.spread**2 + SIGMA**2)
    assert found.residual < 1e-9
    torch.testing.assert_close(found.images, mean, rtol=0, atol=1e-7)


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_a_denoiser_of_every_level_is_asked_for_the_noisy_image_itself(noisy, weight):
    """A weight multiplies the noise that it is told."""

    class OfEveryLevel(Shrinking):
        every_level = True

    found = denoising.posterior_mean(OfEveryLevel(), SIGMA, noisy, weight)
    assert torch.equal(found.images, Shrinking().denoise(noisy, weight**0.5 * SIGMA))
    assert (found.iterations, found.residual) == (0, 0.0)
    most = [
        denoising.most_probable(kind(), SIGMA, noisy, 1.0) for kind in (Shrinking, OfEveryLevel)
    ]
    assert torch.equal(most[0].images, most[1].images)


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_under_an_exact_denoiser_the_most_probable_image_is_that_of_its_density(noisy, weight):
    """The density of white images with noise of level s in them is a Gaussian of variance spread^2 + s^2."""
    found = denoising.most_probable(
        Shrinking(), SIGMA, noisy.double(), weight, tolerance=1e-9, iterations=500
    )
    variance = (Shrinking.spread**2 + (SHARP * SIGMA) ** 2) / weight
    expected = noisy.double() * variance / (variance + SIGMA**2)
    assert found.residual < 1e-9
    torch.testing.assert_close(found.images, expected, rtol=0, atol=1e-7)


# ------------------------------------------------------------------------------ total variation


@pytest.mark.parametrize("channels", [1, 3])
def test_total_variation_is_that_of_scikit_image(channels, noisy):
    from skimage.restoration import denoise_tv_chambolle

    y = noisy[:, :channels]
    found = denoising.total_variation(y, 0.08)
    for x, image in zip(found.images, y, strict=True):
        expected = denoise_tv_chambolle(
            image.double().numpy(), 0.08, eps=1e-5, max_num_iter=500, channel_axis=0
        )
        np.testing.assert_allclose(x.numpy(), expected, atol=1e-6)
    assert found.images.dtype == y.dtype
    assert (found.images - y).abs().max() > 0.05


def test_total_variation_is_the_minimum(photographs, noisy):
    """No step towards or away from other images lowers |x - y|^2 / 2 + weight TV(x)."""

    def objective(x):
        x = x.double()
        down = torch.nn.functional.pad(x.diff(dim=2), (0, 0, 0, 1))
        right = torch.nn.functional.pad(x.diff(dim=3), (0, 1))
        variation = (down.square() + right.square()).sum(1).sqrt().sum((1, 2))
        return 0.5 * (x - noisy[:, :1]).square().sum((1, 2, 3)) + 0.05 * variation

    found = denoising.total_variation(noisy[:, :1], 0.05).images
    least = objective(found)
    for other in (noisy[:, :1], photographs[:, :1], found.mean((2, 3), keepdim=True)):
        for share in (-0.1, 0.1, 1.0):
            assert (objective(found + share * (other - found)) > least).all()


# ------------------------------------------------------------------------------ noise and measures


def test_noise_depends_on_the_name_alone(photographs):
    together = denoising.add_noise(photographs, ["a", "b", "c"], 0.2, 7)
    alone = denoising.add_noise(photographs[1:2], ["b"], 0.2, 7)
    assert torch.equal(together[1:2], alone)
    more = denoising.add_noise(photographs, ["a", "b", "c"], 0.4, 7)
    torch.testing.assert_close(more - photographs, 2 * (together - photographs), atol=1e-6, rtol=0)
    for names, seed in ((["x", "b", "c"], 7), (["a", "b", "c"], 8)):
        other = denoising.add_noise(photographs, names, 0.2, seed)
        assert not torch.allclose(other[0], together[0], atol=0.05)
    assert not torch.allclose((together - photographs)[0], (together - photographs)[1], atol=0.05)


def test_noise_is_white_and_not_clipped():
    flat = torch.zeros(2, 3, 100, 100)
    noise = denoising.add_noise(flat, ["a", "b"], 0.25, 0)
    assert noise.std().item() == pytest.approx(0.25, rel=0.01)
    assert abs(noise.mean().item()) < 0.004  # four standard errors
    assert noise.min() < -0.5
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean()
    assert abs(neighbours.item()) < 0.02


def test_as_many_names_as_images_are_needed(photographs):
    with pytest.raises(ValueError, match="longer"):
        denoising.add_noise(photographs, ["a", "b"], 0.1, 0)


def test_psnr_is_its_formula_after_clipping():
    truth = torch.rand(3, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    other = truth + 0.5 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    found = denoising.psnr(truth, other)
    for value, x, y in zip(found, truth.numpy(), other.numpy(), strict=True):
        error = np.mean((np.clip(y.astype(np.float64), 0, 1) - x) ** 2)
        assert value.item() == pytest.approx(10 * math.log10(1 / error), rel=1e-5)
    beyond = torch.tensor([-3.0, 4.0]).view(1, 1, 1, 2)
    assert denoising.psnr(
        torch.tensor([0.0, 0.9]).view(1, 1, 1, 2), beyond
    ).item() == pytest.approx(-10 * math.log10(0.01 / 2), rel=1e-5)


# ------------------------------------------------------------------------------ tuning


def counted(score):
    asked = []

    def count(weight):
        asked.append(weight)
        return score(weight)

    return count, asked


@pytest.mark.parametrize("best", [0.1, 0.13, 0.017, 2.5, 1e-4, 3e4])
def test_tuning_finds_the_weight_of_the_highest_score(best):
    score, asked = counted(lambda weight: -(abs(math.log(weight / best)) ** 1.5))
    found = denoising.tune(score, 0.1)
    assert all(abs(math.log(found / best)) <= abs(math.log(w / best)) for w in asked)
    # Four golden sections leave this much of two steps of three.
    assert abs(math.log(found / best)) < 2 * math.log(3) * denoising.GOLDEN**4


def test_more_refinement_comes_closer():
    errors = []
    for refine in (0, 4, 12):
        found = denoising.tune(lambda weight: -(math.log(weight / 0.047) ** 2), 0.1, refine=refine)
        errors.append(abs(math.log(found / 0.047)))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


def test_a_start_that_is_best_is_kept():
    score, asked = counted(lambda weight: -abs(math.log(weight / 0.3)))
    assert denoising.tune(score, 0.3) == pytest.approx(0.3, rel=0.1)
    assert len(asked) <= 3 + 5


@pytest.mark.parametrize("sign", [1, -1])
def test_a_score_without_a_maximum_ends_far_out(sign):
    score, asked = counted(lambda weight: sign * math.log(weight))
    found = denoising.tune(score, 0.1)
    assert sign * math.log(found / 0.1) >= 12 * math.log(3)
    assert len(asked) < 30


def test_a_flat_score_ends_near_the_start():
    score, asked = counted(lambda weight: 1.0)
    assert abs(math.log(denoising.tune(score, 0.1) / 0.1)) < 1.1 * math.log(3)
    assert len(asked) <= 3 + 5


@pytest.mark.parametrize("best", [2.5, 3e4, 1e-4])
def test_no_weight_is_tried_twice(best):
    score, asked = counted(lambda weight: -abs(math.log(weight / best)))
    denoising.tune(score, 0.1)
    logs = sorted(map(math.log, asked))
    assert min(b - a for a, b in pairwise(logs)) > 1e-6


def test_tuning_finds_a_denoiser_better_than_none(photographs, noisy):
    def score(weight):
        denoised = denoising.total_variation(noisy, weight).images
        return float(denoising.psnr(photographs, denoised).mean())

    weight = denoising.tune(score, 0.1, refine=1)
    assert score(weight) > score(weight * 3)
    assert score(weight) > score(weight / 3)
    assert score(weight) > float(denoising.psnr(photographs, noisy).mean()) + 2


def test_the_device_of_the_images_is_kept(photographs, noisy):
    where = devices.device()
    found = denoising.most_probable(experts().to(where), SIGMA, noisy.to(where), 1.0, iterations=3)
    assert found.images.device.type == where.type
    assert denoising.total_variation(noisy.to(where), 0.1).images.device.type == where.type


# ------------------------------------------------------------------------------ a photograph


def test_without_a_prior_it_is_total_variation_that_reconstructs():
    assert denoising.denoising_by(None, "map", SIGMA, iterations=1) is denoising.total_variation


@pytest.mark.parametrize("estimator", denoising.ESTIMATORS)
def test_a_prior_reconstructs_by_the_estimator_that_is_named(estimator, noisy):
    prior, limits = Shrinking(), {"iterations": 4, "tolerance": 0.0}
    found = denoising.denoising_by(prior, estimator, SIGMA, **limits)(noisy, 0.5)
    expected = denoising.ESTIMATORS[estimator](prior, SIGMA, noisy, 0.5, **limits)
    assert torch.equal(found.images, expected.images)


def test_the_estimators_of_a_denoiser_differ(noisy):
    means, modes = (
        denoising.denoising_by(Shrinking(), name, SIGMA, iterations=50, tolerance=1e-6)(noisy, 1.0)
        for name in ("mean", "map")
    )
    assert not torch.allclose(means.images, modes.images, atol=1e-4)


@pytest.mark.parametrize(("shape", "side"), [((2, 1, 12, 9), 5), ((1, 3, 6, 30), 8)])
def test_middles_are_the_middle_of_images(shape, side):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = denoising.middles(pixels, side)
    length = min(side, *shape[2:])
    top, left = (shape[2] - length) // 2, (shape[3] - length) // 2
    middle = pixels[:, :, top : top + length, left : left + length]
    np.testing.assert_allclose(found.cpu().numpy(), middle / 255, atol=1e-7)


def test_the_weight_is_that_of_the_largest_mean_psnr(photographs):
    asked = {}

    def denoise(noisy, weight):
        asked[weight] = denoising.total_variation(noisy[:, :1], weight)
        return asked[weight]

    clean = photographs[:, :1]
    found = denoising.tuned(denoise, clean, SIGMA, 3)
    scores = {w: float(denoising.psnr(clean, x.images).mean()) for w, x in asked.items()}
    assert found == max(scores, key=scores.get)
    assert min(asked, key=lambda w: abs(w - denoising.START)) == pytest.approx(denoising.START)


@pytest.mark.parametrize("planes", [1, 3])
def test_what_is_measured_of_a_photograph_is_what_is_reconstructed(planes, photographs):
    pixels = (255 * photographs[0, :planes]).round().byte().numpy()
    truth = torch.from_numpy(pixels)[None].float() / 255
    values, shown = denoising.measure(denoising.total_variation, 0.05, pixels, "cat.png", SIGMA, 7)
    noisy = denoising.add_noise(truth, ["cat.png"], SIGMA, 7)
    denoised = denoising.total_variation(noisy, 0.05).images
    assert tuple(values) == denoising.MEASURES
    assert values["psnr_noisy"] == pytest.approx(float(denoising.psnr(truth, noisy)), rel=1e-5)
    assert values["psnr"] == pytest.approx(float(denoising.psnr(truth, denoised)), rel=1e-5)
    assert values["psnr"] > values["psnr_noisy"] + 1
    pair = (x.clamp(0, 1).permute(0, 2, 3, 1).numpy() for x in (truth, denoised))
    assert values["ssim"] == pytest.approx(metrics.ssim(*pair)[0], rel=1e-5)
    assert (values["iterations"], values["residual"]) == (0, 0)
    for name, image in {"clean": truth, "noisy": noisy, "denoised": denoised}.items():
        picture = (255 * image[0].clamp(0, 1)).round().permute(1, 2, 0).numpy()
        assert shown[name].dtype == np.uint8
        np.testing.assert_allclose(shown[name], picture, atol=1)
    assert np.array_equal(shown["clean"], pixels.transpose(1, 2, 0))


@pytest.fixture
def train(tmp_path):
    """A file of 20 images, and its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 15, 3), dtype=np.uint8)
    with create_hdf5(tmp_path / "train.h5", "images", {}) as file:
        write_array(file, "images", pixels)
        write_names(file, [f"{index}.png" for index in range(20)])
    return tmp_path / "train.h5", pixels


@pytest.mark.parametrize("of", ["images", "grey"])
def test_tuning_sees_held_out_images_alone(of, train):
    path, pixels = train
    found = denoising.tuning_images(path, of, 0.2, 2)
    kept = np.flatnonzero(splits.held_out(20, 0.2))
    chosen = pixels[[kept[1], kept[3]]]  # two of four at even distances
    planes = images.grey(chosen)[:, None] if of == "grey" else chosen.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found.cpu().numpy(), planes[:, :, :15] / 255, atol=1e-7)


def test_what_is_denoised_are_test_images_or_files(train, tmp_path):
    path, pixels = train
    found = dict(denoising.read_photographs([path], "", ["x.png"]))
    assert list(found) == [f"{index}.png" for index in range(20)]
    np.testing.assert_array_equal(found["7.png"], pixels[7])
    Image.fromarray(pixels[3]).save(tmp_path / "x.png")
    ((name, image),) = denoising.read_photographs([], str(tmp_path), ["x.png"])
    assert name == "x.png"
    np.testing.assert_array_equal(image, pixels[3])


@pytest.mark.parametrize("of", ["images", "grey"])
def test_all_photographs_are_measured_and_the_first_shown(of, train, tmp_path):
    pairs = [(f"{index}.png", pixels) for index, pixels in enumerate(train[1][:3])]
    rows, shown = denoising.measure_all(denoising.total_variation, 0.05, pairs, of, SIGMA, 7, 2)
    assert [row[0] for row in rows] == ["0.png", "1.png", "2.png"]
    assert list(shown) == ["0.png", "1.png"]
    for (name, image), row in zip(pairs, rows, strict=True):
        planes = images.planes(image, of)
        alone = denoising.measure(denoising.total_variation, 0.05, planes, name, SIGMA, 7)
        values = dict(zip(denoising.MEASURES, row[1:], strict=True))
        assert values | {"seconds": 0} == alone[0] | {"seconds": 0}
        for kind, picture in shown.get(name, {}).items():
            np.testing.assert_array_equal(picture, alone[1][kind])
    with create_hdf5(tmp_path / "x.h5", "denoised", {}) as file:
        denoising.write_pictures(file, {"b.png": shown["0.png"], "a\udcff": shown["1.png"]})
    with open_hdf5(tmp_path / "x.h5", "denoised") as file:
        assert list(file) == ["000", "001"]
        assert file["001"].attrs["name"] == "a\udcff"
        for kind, picture in shown["0.png"].items():
            np.testing.assert_array_equal(file["000"][kind][...], picture)
