"""Priors against literal loops, finite differences and autograd."""

import math

import numpy as np
import pytest
import torch

from deep_restoration.files.atomic import StorageError
from deep_restoration.files.tensors import load_tensors, save_tensors
from deep_restoration.priors.base import Calibrated
from deep_restoration.priors.borders import BORDERS
from deep_restoration.priors.field import FieldOfExperts
from deep_restoration.priors.norms import AlphaNorm, ColourNorm, DistanceTo
from deep_restoration.priors.registry import load
from deep_restoration.priors.total_variation import TotalVariation

MEAN = torch.tensor([0.4, 0.5, 0.45], dtype=torch.float64).view(1, 3, 1, 1)


def images(count=2, height=5, width=4, channels=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, height, width, generator=draw, dtype=torch.float64)


# ------------------------------------------------------------------------------ literal loops


def total_variation(x, beta, V):
    channels, height, width = x.shape
    total = 0.0
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                right = x[c][i][j + 1] - x[c][i][j] if j + 1 < width else 0.0
                down = x[c][i + 1][j] - x[c][i][j] if i + 1 < height else 0.0
                total += ((255 * right) ** 2 + (255 * down) ** 2) ** (beta / 2) / V**beta
    return total / (height * width)


@pytest.mark.parametrize(("beta", "V"), [(2.0, 1.0), (2.0, 12.31), (1.0, 1.0), (1.5, 12.31)])
def test_total_variation_equals_a_loop(beta, V):
    found = TotalVariation(beta, V).energy(images())
    expected = [total_variation(x.numpy(), beta, V) for x in images()]
    np.testing.assert_allclose(found, expected, rtol=1e-10 if beta == 2 else 1e-5)


def test_alpha_norm_equals_a_loop():
    found = AlphaNorm(MEAN, 6.0).energy(images())
    for value, x in zip(found.tolist(), images().numpy(), strict=True):
        total = 0.0
        for c in range(3):
            for i in range(5):
                for j in range(4):
                    total += abs(255 * (x[c, i, j] - MEAN[0, c, 0, 0].item())) ** 6
        assert value == pytest.approx(total / 20, rel=1e-12)


def test_colour_norm_equals_a_loop():
    found = ColourNorm(MEAN, 6.0, 80.0).energy(images())
    for value, x in zip(found.tolist(), images().numpy(), strict=True):
        total = 0.0
        for i in range(5):
            for j in range(4):
                colour = [255 * (x[c, i, j] - MEAN[0, c, 0, 0].item()) for c in range(3)]
                total += sum(v * v for v in colour) ** 3 / 80**6
        assert value == pytest.approx(total / 20, rel=1e-12)


def test_range_priors_around_the_image_s_own_mean_equal_loops():
    """Eq. 4 of Harder 2017; for the colour norm as in his code, the mean over positions and colours."""
    alpha, colour = (
        kind(MEAN, centre="image").energy(images()) for kind in (AlphaNorm, ColourNorm)
    )
    for index, x in enumerate(images().tolist()):
        values = [255 * v for plane in x for row in plane for v in row]
        mean = sum(values) / len(values)
        powers = sum(abs(v - mean) ** 6 for v in values)
        assert alpha[index].item() == pytest.approx(powers / 20, rel=1e-12)
        colours = zip(*([255 * v - mean for row in plane for v in row] for plane in x), strict=True)
        norms = sum(sum(v * v for v in colour_) ** 3 / 80**6 for colour_ in colours)
        assert colour[index].item() == pytest.approx(norms / 20, rel=1e-12)


def test_an_unknown_centre_is_refused():
    with pytest.raises(ValueError, match="centre is 'median'; allowed: colour, image"):
        AlphaNorm(MEAN, centre="median")


# ------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize(
    "prior",
    [
        TotalVariation(2.0, 12.31),
        TotalVariation(1.5, 12.31),
        AlphaNorm(MEAN),
        ColourNorm(MEAN),
    ],
    ids=["tv 2", "tv 1.5", "alpha", "colour"],
)
def test_gradients_are_finite_differences(prior):
    x = images().requires_grad_()
    (found,) = torch.autograd.grad(prior.energy(x).sum(), x)
    step = 1e-6
    for index in [(0, 0, 0, 0), (0, 1, 2, 3), (1, 2, 4, 3), (1, 0, 4, 1)]:
        up, down = images(), images()
        up[index] += step
        down[index] -= step
        slope = (prior.energy(up).sum() - prior.energy(down).sum()) / (2 * step)
        assert found[index].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0])
def test_total_variation_of_a_flat_image_has_a_gradient(beta):
    x = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    energy = TotalVariation(beta).energy(x)
    (gradient,) = torch.autograd.grad(energy.sum(), x)
    assert energy.item() < 1e-3
    assert (gradient == 0).all()


@pytest.mark.parametrize("prior", [TotalVariation(), AlphaNorm(MEAN), ColourNorm(MEAN)])
def test_energies_of_a_batch_are_those_of_its_images(prior):
    batch = images(3)
    singly = torch.cat([prior.energy(x[None]) for x in batch])
    torch.testing.assert_close(prior.energy(batch), singly, rtol=1e-12, atol=0)


# ------------------------------------------------------------------------------ fields of experts

FIELDS = {  # filters, groups, filters of each channel, dc, contrast; of 4 channels, 3 x 2 pixels
    "full": ((6, 4, 3, 2), 1, None, "none", None),
    "groups": ((6, 2, 3, 2), 2, None, "channel", None),
    "channelwise": ((8, 1, 3, 2), 4, None, "channel", None),
    "separable": ((6, 8, 1, 1), 4, 2, "none", None),
    "contrast": ((6, 4, 3, 2), 1, None, "none", 0.3),
    "contrast, dc of patches": ((6, 4, 3, 2), 1, None, "patch", 0.3),
    "contrast, dc of channels": ((6, 4, 3, 2), 1, None, "channel", 0.3),
    "contrast, groups": ((6, 2, 3, 2), 2, None, "channel", 0.3),
    "contrast, separable": ((6, 8, 1, 1), 4, 2, "channel", 0.3),
}
fields = pytest.mark.parametrize("name", sorted(FIELDS))
experts = pytest.mark.parametrize("expert", ["logistic", "student_t", "smooth_l1"])
both = pytest.mark.parametrize("border", BORDERS)

LITERAL = {
    "logistic": lambda s: -math.log(math.cosh(s)),
    "student_t": lambda s: -math.log1p(s * s / 2),
    "smooth_l1": lambda s: -math.sqrt(1 + s * s),
}


def field(name="full", expert="student_t", dtype=torch.float64, **options):
    shape, groups, multiplier, dc, contrast = FIELDS[name]
    draw = torch.Generator().manual_seed(5)
    depthwise = None
    if multiplier:
        depthwise = torch.randn(4 * multiplier, 1, 3, 2, generator=draw, dtype=dtype)
    return FieldOfExperts(
        torch.randn(shape, generator=draw, dtype=dtype),
        torch.randn(shape[0], generator=draw, dtype=dtype),
        torch.rand(shape[0], generator=draw, dtype=dtype) + 0.1,
        expert,
        groups=groups,
        depthwise=depthwise,
        dc=dc,
        contrast=contrast,
        **options,
    )


def natural(count=2, height=6, width=7):
    """Maps with a part of little contrast."""
    x = images(count, height, width, channels=4)
    x[..., :3] = 0.3 + 0.2 * x[..., :3]
    return x


def literal_energies(name, expert, x, border):
    """Of every position of one map, in loops over patches and filters. Patches of 3 x 2 have a row above
    their centre, one below, and a column to its right."""
    if border == "reflect":
        x = np.pad(x, [(0, 0), (1, 1), (0, 1)], mode="reflect")
    prior, (_, groups, multiplier, dc, contrast) = field(name), FIELDS[name]
    filters, bias, alphas = prior.filters.numpy(), prior.bias.tolist(), prior.alphas.tolist()
    result = np.zeros((x.shape[1] - 2, x.shape[2] - 1))
    for i, j in np.ndindex(*result.shape):
        patch, scale = x[:, i : i + 3, j : j + 2], 1.0
        if contrast:
            mean = {"none": 0, "patch": patch.mean()}.get(dc)
            mean = patch.mean(axis=(1, 2), keepdims=True) if mean is None else mean
            scale = max(contrast, math.sqrt(((patch - mean) ** 2).mean()))
        for k in range(len(alphas)):
            if multiplier:
                depthwise = prior.depthwise.numpy()
                inner = [(depthwise[m, 0] * patch[m // 2]).sum() for m in range(8)]
                s = sum(filters[k, m, 0, 0] * inner[m] for m in range(8))
            else:
                group, part = k // (len(alphas) // groups), 4 // groups
                s = (filters[k] * patch[group * part : (group + 1) * part]).sum()
            result[i, j] -= alphas[k] * LITERAL[expert](s / scale + bias[k])
    return result


@fields
@experts
@both
def test_the_energy_is_the_sum_over_all_positions_and_experts(name, expert, border):
    prior, x = field(name, expert, border=border), natural()
    energies = [literal_energies(name, expert, one, border) for one in x.numpy()]
    assert energies[0].shape == ((6, 7) if border == "reflect" else (4, 6))
    expected = [one.sum() for one in energies]
    assert prior.energy(x).tolist() == pytest.approx(expected, rel=1e-12)
    with torch.no_grad():
        assert prior.energy(x).tolist() == pytest.approx(expected, rel=1e-12)
    assert prior.energy(x.requires_grad_()).tolist() == pytest.approx(expected, rel=1e-12)
    assert prior.positions(x) == energies[0].size
    assert (prior.channels, prior.size) == (4, (3, 2))


@both
@pytest.mark.parametrize("size", [(3, 3), (4, 2), (2, 4), (1, 4)])
def test_patches_of_any_size_are_centred_at_each_position(size, border):
    """The one in front of the middle of an even size is its centre."""
    draw, x = torch.Generator().manual_seed(3), images(1, 5, 6)
    filters = torch.randn(2, 3, *size, generator=draw, dtype=torch.float64)
    prior = FieldOfExperts(
        filters, torch.zeros(2).double(), torch.ones(2).double(), "student_t", border=border
    )
    framed = x[0].numpy()
    if border == "reflect":
        frame = [((k - 1) // 2, k // 2) for k in size]
        framed = np.pad(framed, [(0, 0), *frame], mode="reflect")
    rows, columns = (n - k + 1 for n, k in zip(framed.shape[1:], size, strict=True))
    found = prior.responses(x)[0]
    assert found.shape == (2, rows, columns)
    assert prior.positions(x) == rows * columns
    for k, i, j in np.ndindex(2, rows, columns):
        patch = framed[:, i : i + size[0], j : j + size[1]]
        assert found[k, i, j].item() == pytest.approx((filters[k].numpy() * patch).sum())


@fields
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 1), (1, 5)])
def test_a_map_smaller_than_a_patch_is_reflected_or_refused(name, size):
    """Of 1 x 1, the frame repeats its position; of 2 x 2, rows and columns alternate."""
    x = natural(2, *size) if size[1] > 3 else images(2, *size, channels=4)
    prior = field(name)
    expected = [literal_energies(name, "student_t", one, "reflect").sum() for one in x.numpy()]
    assert prior.energy(x).tolist() == pytest.approx(expected, rel=1e-12)
    assert prior.positions(x) == size[0] * size[1]
    known = x.clone().requires_grad_()
    energy = -(prior.expert.G(prior.responses(known)).sum((2, 3)) @ prior.alphas)
    (gradient,) = torch.autograd.grad(energy.sum(), known)
    torch.testing.assert_close(prior.gradient(x), gradient, rtol=1e-10, atol=1e-10)
    prior = field(name, border="valid", position_stride=2)
    message = f"maps of {size[0]} x {size[1]} hold no whole patch of 3 x 2.*border: reflect"
    for ask in (
        prior.energy,
        lambda x: prior.energy(x, torch.Generator()),
        prior.gradient,
        prior.responses,
        prior.positions,
    ):
        with pytest.raises(ValueError, match=message):
            ask(x)


def test_an_unknown_border_is_refused():
    with pytest.raises(ValueError, match="border is 'zero'; allowed: reflect, valid"):
        field(border="zero")


@fields
@experts
@both
def test_the_gradient_of_a_field_is_that_of_autograd(name, expert, border):
    prior, x = field(name, expert, border=border), natural().requires_grad_()
    energy = -(prior.expert.G(prior.responses(x)).sum((2, 3)) @ prior.alphas)
    weights = torch.tensor([1.0, -0.3], dtype=torch.float64)
    (expected,) = torch.autograd.grad(energy, x, weights)
    (found,) = torch.autograd.grad(prior.energy(x), x, weights)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    (expected,) = torch.autograd.grad(prior.energy(x).sum(), x)
    found = prior.gradient(x.detach())
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(prior.gradient(x.detach()), found, rtol=0, atol=0)


@pytest.mark.parametrize("block", [1, 100, 200, 300, 10**6])
@pytest.mark.parametrize(("step", "corner"), [(1, (0, 0)), (2, (0, 0)), (3, (0, 0)), (3, (1, 2))])
@pytest.mark.parametrize("threads", [1, 2])
@both
def test_energy_and_gradient_do_not_depend_on_the_blocks(
    block, step, corner, threads, border, monkeypatch
):
    """From blocks of one row of one map to all maps at once."""
    prior, x = field(border=border), natural(5, 11, 10).requires_grad_()
    responses = prior.responses(x)[..., corner[0] :: step, corner[1] :: step]
    energy = -(step**2) * (prior.expert.G(responses).sum((2, 3)))
    (expected,) = torch.autograd.grad((energy @ prior.alphas).sum(), x)
    monkeypatch.setattr("deep_restoration.priors.field.BLOCK", block)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found, gradient = prior._descend(x.detach(), step, corner)
    torch.testing.assert_close(found, energy.detach() @ prior.alphas, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


@experts
@both
def test_in_mixed_precision_a_field_is_right_to_three_digits(expert, border):
    prior, x = field("full", expert, border=border), natural(2, 40, 40).float().requires_grad_()
    (expected,) = torch.autograd.grad(prior.energy(x).sum(), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        energy = prior.energy(x)
    (found,) = torch.autograd.grad(energy.sum(), x)
    assert energy.dtype == found.dtype == torch.float32
    torch.testing.assert_close(energy, prior.energy(x), rtol=3e-3, atol=0)
    assert 1e-5 < float((found - expected).norm() / expected.norm()) < 1e-2


@fields
@experts
@both
def test_the_gradient_of_a_field_is_finite_differences(name, expert, border):
    prior, x, step = field(name, expert, border=border), natural(), 1e-6
    found = prior.gradient(x)
    for index in [(0, 0, 0, 0), (0, 1, 2, 3), (0, 3, 4, 4), (1, 2, 5, 6), (1, 0, 4, 1)]:
        up, down = x.clone(), x.clone()
        up[index] += step
        down[index] -= step
        slope = (prior.energy(up).sum() - prior.energy(down).sum()) / (2 * step)
        assert found[index].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-7)


@fields
@both
def test_fields_of_a_batch_are_those_of_its_maps(name, border):
    prior, x = field(name, border=border), natural(3)
    singly = torch.cat([prior.energy(one[None]) for one in x])
    torch.testing.assert_close(prior.energy(x), singly, rtol=1e-12, atol=0)
    singly = torch.cat([prior.gradient(one[None]) for one in x])
    torch.testing.assert_close(prior.gradient(x), singly, rtol=1e-10, atol=1e-12)


def test_contrast_is_normalised_patch_by_patch_down_to_its_floor():
    prior, x = field("contrast, dc of patches"), natural()
    prior.bias.zero_()
    loud, quiet = 5 + 100 * (x - 0.5), 5 + 1e-3 * (x - 0.5)
    prior.filters -= prior.filters.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(prior.responses(loud), prior.responses(3 * loud + 1))
    torch.testing.assert_close(
        prior.responses(quiet), prior.responses(quiet + 1), atol=1e-8, rtol=0
    )
    twice = prior.responses(5 + 2 * (quiet - 5))
    torch.testing.assert_close(twice, 2 * prior.responses(quiet), atol=1e-8, rtol=1e-8)


@fields
def test_a_flat_map_has_a_finite_gradient(name):
    prior = field(name, dtype=torch.float32)
    x = torch.full((1, 4, 6, 6), 0.7)
    assert torch.isfinite(prior.energy(x)).all()
    assert torch.isfinite(prior.gradient(x)).all()


# ------------------------------------------------------------------------------ strides


def by_offset(prior, x):
    """Estimates of the energy, by the offset of the positions."""
    estimates, generator, step = {}, torch.Generator(), prior.position_stride
    for seed in range(400):
        offset = tuple(torch.randint(step, (2,), generator=generator.manual_seed(seed)).tolist())
        if offset not in estimates:
            estimates[offset] = prior.energy(x, generator.manual_seed(seed))
    assert len(estimates) == step**2
    return estimates


@fields
@both
@pytest.mark.parametrize("position_stride", [2, 3])
@pytest.mark.parametrize("size", [(9, 9), (8, 13)])
def test_the_mean_over_all_offsets_of_the_lattice_is_the_full_energy(
    name, border, position_stride, size
):
    prior, x = field(name, position_stride=position_stride, border=border), natural(2, *size)
    full, estimates = prior.energy(x), by_offset(prior, x)
    mean = torch.stack(list(estimates.values())).mean(0)
    torch.testing.assert_close(mean, full, rtol=1e-12, atol=0)
    assert not torch.allclose(estimates[0, 0], full, rtol=1e-6)


def test_random_offsets_give_the_energy_within_their_standard_error():
    prior, x = field(position_stride=4), natural(2, 15, 14)
    draw = torch.Generator().manual_seed(0)
    estimates = torch.stack([prior.energy(x, draw) for _ in range(500)])
    error = estimates.std(0) / math.sqrt(500)
    assert ((estimates.mean(0) - prior.energy(x)).abs() < 4 * error).all()
    assert (estimates.std(0) > 0.01 * prior.energy(x)).all()


@fields
@both
def test_the_gradient_over_all_offsets_of_the_lattice_is_the_full_one(name, border):
    prior, x = field(name, position_stride=2, border=border), natural().requires_grad_()
    slopes = [torch.autograd.grad(value.sum(), x)[0] for value in by_offset(prior, x).values()]
    torch.testing.assert_close(torch.stack(slopes).mean(0), prior.gradient(x.detach()))


@both
def test_a_map_smaller_than_the_offset_counts_for_nothing(border):
    prior = field(position_stride=4, border=border)  # four patches: most offsets hit none
    x = natural(2, 4, 3) if border == "valid" else images(2, 2, 2, channels=4)
    assert prior.positions(x) == 4
    estimates = by_offset(prior, x)
    mean = torch.stack(list(estimates.values())).mean(0)
    torch.testing.assert_close(mean, prior.energy(x), rtol=1e-12, atol=0)
    assert sum(value.tolist() == [0, 0] for value in estimates.values()) == 12
    assert estimates[3, 3].tolist() == [0, 0]


def test_without_a_generator_the_energy_is_exact():
    x = natural(2, 9, 9)
    assert torch.equal(field(position_stride=3).energy(x), field().energy(x))
    draw = torch.Generator().manual_seed(0)
    assert torch.equal(field().energy(x, draw), field().energy(x))


# ------------------------------------------------------------------------------ calibration


@fields
@both
def test_calibration_gives_mean_and_spread_of_all_positions(name, border):
    """For both borders at once, whichever the field has."""
    prior = field(name, border=border)
    batches = [natural(3), natural(1, 9, 5), natural(2, 3, 2)]
    prior.calibrate(iter(batches))
    for each in BORDERS:
        energies = np.concatenate(
            [
                literal_energies(name, "student_t", one, each).reshape(-1)
                for batch in batches
                for one in batch.numpy()
            ]
        )
        assert len(energies) == (3 * 24 + 28 + 2 if each == "valid" else 3 * 42 + 45 + 12)
        mean, spread = prior.calibration[each]
        assert mean == pytest.approx(energies.mean(), rel=1e-10)
        assert spread == pytest.approx(energies.std(), rel=1e-8)
    assert (prior.mean, prior.spread) == prior.calibration[border]


def test_where_memory_is_short_energies_stay_and_calibration_takes_fewer_positions(monkeypatch):
    prior, x = field(), natural(5, 9, 8)
    expected = prior.energy(x)
    monkeypatch.setattr("deep_restoration.priors.field.ROOM", 100)
    with torch.no_grad():
        torch.testing.assert_close(prior.energy(x), expected, rtol=1e-12, atol=0)
    prior.calibrate([x[:3], x[3:]])
    for border, corner in (("valid", 0), ("reflect", 1)):  # the first whole patch is at (1, 0)
        parts = [literal_energies("full", "student_t", one, border) for one in x.numpy()]
        every = np.stack([one[corner::3, ::3] for one in parts])
        mean, spread = prior.calibration[border]
        assert mean == pytest.approx(every.mean(), rel=1e-10)
        assert spread == pytest.approx(every.std(), rel=1e-8)


def test_maps_smaller_than_a_patch_calibrate_the_reflected_border_alone():
    prior, x = field(), images(4, 2, 1, channels=4)
    prior.calibrate([x])
    every = np.stack([literal_energies("full", "student_t", one, "reflect") for one in x.numpy()])
    assert prior.calibration["reflect"] == pytest.approx((every.mean(), every.std()))
    assert prior.calibration["valid"] == (0, 1)


def test_a_field_that_never_varies_keeps_a_spread_of_1():
    prior = field()
    prior.filters.zero_()
    prior.bias.zero_()
    prior.calibrate([natural()])
    assert (prior.mean, prior.spread) == (0, 1)


@both
def test_a_calibrated_prior_counts_in_spreads_per_position(border):
    prior = field(position_stride=2, border=border, mean=2.0, spread=0.5)
    x, places = natural(2, 9, 8), 9 * 8 if border == "reflect" else 7 * 7
    expected = (prior.energy(x) / places - 2.0) / 0.5
    torch.testing.assert_close(Calibrated(prior).energy(x), expected, rtol=1e-12, atol=0)
    draw = torch.Generator()
    found = Calibrated(prior).energy(x, draw.manual_seed(3))
    expected = (prior.energy(x, draw.manual_seed(3)) / places - 2.0) / 0.5
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@both
def test_the_maps_of_a_calibration_count_0_on_average(border):
    prior, x = field(border=border), natural(5)
    prior.calibrate([x[:2], x[2:]])
    assert Calibrated(prior).energy(x).mean().item() == pytest.approx(0, abs=1e-10)


# ------------------------------------------------------------------------------ files


@fields
@experts
def test_a_stored_field_is_the_same_field(name, expert, tmp_path):
    prior = field(name, expert, torch.float32, mean=-3.5, spread=1.25, facts={"of": "images"})
    if name == "full":
        prior.patterns = 2 * prior.filters
    prior.calibration["valid"] = (-2.5, 0.75)
    prior.save(tmp_path / "prior.safetensors", {"settings": {"seed": 1}})
    found = load(tmp_path / "prior.safetensors", position_stride=3)
    x = natural(2, 9, 9).float()
    assert isinstance(found, FieldOfExperts)
    assert torch.equal(found.energy(x), prior.energy(x))
    assert torch.equal(found.gradient(x), prior.gradient(x))
    assert torch.equal(found.patterns, prior.patterns)
    for fact in ("mean", "spread", "groups", "dc", "contrast", "channels", "size", "facts"):
        assert getattr(found, fact) == getattr(prior, fact)
    assert (found.expert_name, found.position_stride, prior.position_stride) == (expert, 3, 1)
    assert load(tmp_path / "prior.safetensors").position_stride == 1
    valid = load(tmp_path / "prior.safetensors", border="valid")
    assert (valid.border, valid.mean, valid.spread) == ("valid", -2.5, 0.75)
    assert valid.positions(x) == 7 * 8
    assert (found.border, found.positions(x)) == ("reflect", 9 * 9)
    _, facts = load_tensors(tmp_path / "prior.safetensors", "prior")
    assert facts["settings"] == {"seed": 1}
    assert facts["kind"] == "field"


def test_an_option_of_another_kind_of_prior_is_refused(tmp_path):
    field(dtype=torch.float32).save(tmp_path / "foe.safetensors", {})
    message = (
        "foe.safetensors holds a field, which has no option sigma; allowed: border, position_stride"
    )
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "foe.safetensors", sigma=0.1, position_stride=2)


def test_a_file_that_is_no_prior_is_refused(tmp_path):
    save_tensors(tmp_path / "weights.safetensors", {"w": torch.ones(2)}, "weights", {})
    with pytest.raises(StorageError, match="weights"):
        load(tmp_path / "weights.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"no tensors")
    with pytest.raises(StorageError, match="damaged"):
        load(tmp_path / "damaged.safetensors")
    with pytest.raises(StorageError, match="missing"):
        load(tmp_path / "missing.safetensors")


# ------------------------------------------------------------------------------ a distance


def test_distance_to_images_equals_a_loop_and_looks_at_the_middle():
    centre, canvas = images(2, 5, 4), images(2, 8, 8)
    found = DistanceTo(centre).energy(canvas)
    for value, x, c in zip(found.tolist(), canvas, centre, strict=True):
        inner = x[:, 1:6, 2:6]
        total = sum(
            (255 * float(a - b)) ** 2 for a, b in zip(inner.ravel(), c.ravel(), strict=True)
        )
        assert value == pytest.approx(total / 20)
    assert (DistanceTo(centre).energy(centre) == 0).all()


@pytest.mark.parametrize(
    ("height", "width", "top", "left"), [(5, 4, 0, 0), (6, 5, 0, 0), (9, 7, 2, 1)]
)
def test_the_distance_to_images_pulls_towards_them(height, width, top, left):
    centre, x = images(2, 5, 4), images(2, height, width, seed=1).requires_grad_()
    (found,) = torch.autograd.grad(DistanceTo(centre).energy(x).sum(), x)
    inner = x.detach()[..., top : top + 5, left : left + 4]
    expected = torch.zeros_like(found)
    expected[..., top : top + 5, left : left + 4] = 2 * 255**2 * (inner - centre) / 20
    torch.testing.assert_close(found, expected)
