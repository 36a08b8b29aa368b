"""Wiener's filter and a U-Net that corrects it: the network, the denoiser, its energy and its training."""

import math

import numpy as np
import pytest
import torch

from deep_restoration.files.tensors import load_tensors
from deep_restoration.priors import annealing, unet
from deep_restoration.priors.base import Calibrated
from deep_restoration.priors.registry import load
from deep_restoration.priors.spectral import Spectral
from deep_restoration.priors.unet import Correction, Gate, Network, UNet
from deep_restoration.runtime.checkpoints import Checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")
FORMS = ("direct", "gradient_step")
WIDTHS = (3, 4, 5)


def seeded(count=2, channels=2, height=6, width=5, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, height, width, generator=draw, dtype=dtype)


def network(channels=2, fold=1, widths=WIDTHS, blocks=1):
    """One whose layers are all random."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        result = Network(channels, widths, blocks, fold)
        for parameter in result.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return result


def spectrum(sigma=0.4):
    draw = torch.Generator().manual_seed(5)
    variances = torch.rand(2, 6, 5, generator=draw, dtype=torch.float64) + 0.1
    basis = torch.linalg.qr(torch.randn(2, 2, generator=draw, dtype=torch.float64)).Q
    return Spectral(torch.tensor([0.3, -0.2], dtype=torch.float64), basis, variances, sigma)


OPEN = Gate(torch.tensor([0.1, 0.2, 0.4, 0.8, 1.6]), torch.ones(5))


def prior(form="direct", sigma=0.4, gate=OPEN, net=None, **options):
    facts = {"widths": list(WIDTHS), "blocks": 1, "fold": 1, "sigma": 5.0}
    return UNet(spectrum(sigma), net or network(), gate, form, sigma, facts=facts, **options)


def double(form="direct", **options):
    return prior(form, net=network().double(), **options)


# ------------------------------------------------------------------------------ the network


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2), (8, 8), (13, 9)])
def test_maps_of_any_size_keep_it(fold, size):
    with torch.no_grad():
        found = network(fold=fold)(seeded(3, 4, *size), torch.full((3,), 0.5))
    assert found.shape == (3, 2, *size)
    assert torch.isfinite(found).all()
    assert found.std() > 1e-3


def test_a_network_is_zero_before_training_and_its_blocks_do_nothing():
    x, level = seeded(3, 4, 7, 5), torch.tensor([-1.0, 0.0, 2.0])
    assert torch.equal(Network(2, WIDTHS, 2, 2)(x, level), torch.zeros(3, 2, 7, 5))
    one = unet.Block(3)
    u = seeded(3, 3)
    assert torch.equal(one(u, torch.randn(3, unet.EMBEDDED)), u)


def test_sizes_are_filled_up_with_the_edge():
    x, level = seeded(2, 4, 7, 5), torch.tensor([0.2, 0.7])
    filled = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 1), (0, 3)), "edge")
    with torch.no_grad():
        whole = network(fold=2)(torch.from_numpy(filled), level)
        found = network(fold=2)(x, level)
    torch.testing.assert_close(found, whole[..., :7, :5], rtol=1e-4, atol=1e-5)


def test_every_map_has_its_own_noise_level():
    x, levels = seeded(3, 4), torch.tensor([-1.0, 0.5, 2.0])
    with torch.no_grad():
        together = network()(x, levels)
        alone = torch.cat([network()(x[i : i + 1], levels[i : i + 1]) for i in range(3)])
        same = network()(x[:1].expand(3, -1, -1, -1), levels)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(same[0], same[2], atol=1e-2)


@pytest.mark.parametrize("widths", [(3,), (3, 4), (3, 4, 5, 6)])
def test_there_are_as_many_scales_as_widths(widths):
    one = network(widths=widths, blocks=2)
    assert one.multiple == 2 ** (len(widths) - 1)
    assert (len(one.before), len(one.after)) == (len(widths), len(widths) - 1)
    with torch.no_grad():
        assert one(seeded(1, 4, 16, 16), torch.zeros(1)).shape == (1, 2, 16, 16)


# ------------------------------------------------------------------------------ the gate


def test_the_gate_is_linear_in_the_logarithm_and_closed_beyond_its_levels():
    gate = Gate(torch.tensor([0.1, 0.2, 0.4, 0.8, 1.6]), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]))
    s = torch.tensor([0.05, 0.0999, 0.1, 0.12, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 1.6, 1.61, 3.0])
    expected = np.interp(s.log2(), gate.levels.log2(), gate.open, 0.0, 0.0)
    expected[1] = 0.0
    np.testing.assert_allclose(gate(s).numpy(), expected, atol=2e-3)


def test_levels_of_the_gate_are_even_from_the_least_to_the_most():
    found = unet.knots(0.01, 2.0)
    assert len(found) == unet.KNOTS
    assert [float(found[0]), float(found[-1])] == pytest.approx([0.01, 2.0])
    ratios = found[1:] / found[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(unet.KNOTS - 1))
    assert Gate(found, torch.ones(unet.KNOTS))(torch.tensor([510 / 255, 2.55 / 255])).tolist() == (
        pytest.approx([1, 1])
    )


@pytest.mark.parametrize("form", FORMS)
def test_where_the_gate_is_closed_the_denoiser_is_the_filter(form):
    gate = Gate(OPEN.levels, torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]))
    one, x = prior(form, gate=gate), seeded()
    for closed in (0.01, 0.15, 9.0):
        assert torch.equal(one.denoise(x, closed), spectrum().denoise(x, closed))
    assert not torch.allclose(one.denoise(x, 0.8), spectrum().denoise(x, 0.8), atol=1e-2)


# ------------------------------------------------------------------------------ the denoiser


def test_the_denoiser_is_its_formula():
    """D = W + g e U([(W - m) / q, (x - W) / s], log s), map by map, at levels of their own."""
    gate = Gate(OPEN.levels, torch.tensor([0.0, 1.0, 0.5, 1.0, 1.0]))
    one, net, x = double(gate=gate), network().double(), seeded(3, dtype=torch.float64)
    known = spectrum()
    q = math.sqrt(known.variances.mean())
    shares = {0.15: math.log(1.5) / math.log(2), 0.4: 0.5, 1.0: 1.0}
    found = one.denoise(x, torch.tensor(list(shares)))
    for image, (s, share), result in zip(x, shares.items(), found, strict=True):
        filtered = known.denoise(image[None], s)
        e = math.sqrt((known.variances * s**2 / (known.variances + s**2)).mean())
        centre = torch.tensor([0.3, -0.2], dtype=torch.float64)[:, None, None]
        seen = torch.cat([(filtered - centre) / q, (image - filtered) / s], 1)
        answer = net(seen, torch.tensor([0.5 * math.log(s / q)], dtype=torch.float64))
        torch.testing.assert_close(result, (filtered + share * e * answer)[0], rtol=1e-6, atol=1e-6)
        assert (result - filtered[0]).abs().mean() > 0.01


@pytest.mark.parametrize("level", [0.01, 0.3, 10.0])
def test_the_network_sees_and_says_values_of_order_one(level):
    """Of maps of the prior: the filter's inputs, and the error that is to be corrected in units of e."""
    known, seen = spectrum(), []

    class Watching(Network):
        def forward(self, x, told):
            seen.append(x)
            return torch.zeros(len(x), 2, *x.shape[2:])

    draw = torch.Generator().manual_seed(0)
    clean = known.sample((400, 2, 6, 5), draw)
    noisy = clean + level * torch.randn(clean.shape, generator=draw)
    s, filtered = torch.full((400,), level), known.denoise(noisy, level)
    Correction.of(Watching(2, WIDTHS, 1, 1), known)(noisy, filtered, s)
    kept, taken = seen[0].chunk(2, 1)
    assert kept.square().mean() < 1.1
    assert taken.square().mean() < 1.1
    assert max(kept.square().mean(), taken.square().mean()) > 0.5
    wanted = (clean - filtered) / known.error(s).sqrt().float().view(-1, 1, 1, 1)
    assert wanted.square().mean() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("form", FORMS)
def test_an_untrained_denoiser_is_the_filter(form):
    one, x = prior(form, net=Network(2, WIDTHS, 1, 1)), seeded()
    expected = spectrum().denoise(x, 0.3)
    torch.testing.assert_close(one.denoise(x, 0.3), expected, rtol=1e-5, atol=1e-5)


def test_the_energy_of_an_untrained_gradient_step_is_that_of_the_spectrum():
    one = double("gradient_step")
    for parameter in one.correct.network.parameters():
        torch.nn.init.zeros_(parameter)
    x = seeded(3, dtype=torch.float64)
    torch.testing.assert_close(one.energy(x), spectrum().energy(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(one.gradient(x), spectrum().gradient(x), rtol=1e-9, atol=1e-9)


def test_a_gradient_step_is_its_formula():
    """D = N + J'(x - N), with the whole Jacobian of N, map by map."""
    one, net = double("gradient_step"), network().double()
    known, s = spectrum(), 0.6
    e, q = known.error(s).sqrt(), math.sqrt(known.variances.mean())
    centre = known.centre[:, None, None]
    told = torch.tensor([0.5 * math.log(s / q)], dtype=torch.float64)

    def answer(image):
        a = known._of(image[None]).analyse(image[None])
        gain = 1 - s / (known.variances + s**2).sqrt()
        rest = known._of(image[None]).synthesise(gain * a)
        seen = torch.cat([(rest - centre) / q, (image - rest) / s], 1)
        return (rest + e * net(seen, told))[0]

    for image in seeded(2, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(answer, image).reshape(60, 60)
        n = answer(image)
        expected = n + (jacobian.T @ (image - n).flatten()).view_as(n)
        torch.testing.assert_close(one.denoise(image[None], s)[0], expected, rtol=1e-6, atol=1e-6)


def test_the_gradient_of_a_gradient_step_is_exactly_that_of_its_energy():
    one, x = double("gradient_step"), seeded(dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(one.energy(x).sum(), x)
    found = one.gradient(x.detach())
    torch.testing.assert_close(found, slope, rtol=1e-6, atol=1e-6)
    flat, h = x.detach(), 1e-5
    for place in [(0, 0, 0, 0), (1, 1, 5, 4), (0, 1, 2, 3), (1, 0, 3, 0)]:
        beside = [flat.clone(), flat.clone()]
        beside[0][place] -= h
        beside[1][place] += h
        below, above = (float(one.energy(y).sum()) for y in beside)
        assert float(found[place]) == pytest.approx((above - below) / (2 * h), rel=1e-5, abs=1e-6)
    assert found.abs().mean() > 0.1


def test_the_direct_form_has_the_gradient_of_the_distance_moved():
    one, x = prior(), seeded().requires_grad_()
    shift = x.detach() - one.denoise(x.detach())
    energy = one.energy(x)
    torch.testing.assert_close(energy, shift.square().sum((1, 2, 3)) / (2 * 0.4**2))
    (slope,) = torch.autograd.grad(energy.sum(), x)
    torch.testing.assert_close(slope, shift / 0.4**2)
    torch.testing.assert_close(one.gradient(x.detach()), slope)


@pytest.mark.parametrize("form", FORMS)
def test_autograd_goes_through_the_denoiser(form):
    """What an annealing needs: the gradient of a function of D by x, against finite differences."""
    one, s = double(form), torch.tensor([0.3, 1.1])
    x = seeded(height=3, width=2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: one.denoise(y, s), x, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_no_gradient_is_kept_where_none_is_wanted(form, mode):
    one, x = prior(form), seeded()
    expected = one.denoise(x.clone().requires_grad_(), 0.3)
    assert expected.requires_grad
    with mode():
        found = one.denoise(x * 1.0, 0.3)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_maps_of_another_size_than_learned_are_denoised(form):
    for size in ((1, 1), (12, 9), (7, 3)):
        found = prior(form).denoise(seeded(1, 2, *size), 0.5)
        assert found.shape == (1, 2, *size)
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("form", FORMS)
def test_energies_and_denoised_maps_of_a_batch_are_those_of_its_maps(form):
    x, one = seeded(3), prior(form)
    for ask in (one.energy, one.denoise):
        alone = torch.cat([ask(image[None]) for image in x])
        torch.testing.assert_close(ask(x), alone, rtol=1e-4, atol=1e-5)
    assert one.positions(x) == 60


@pytest.mark.parametrize("form", FORMS)
def test_a_stored_prior_is_the_same(form, tmp_path):
    path = tmp_path / "unet.safetensors"
    gate = Gate(OPEN.levels, torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]))
    one = prior(form, sigma=0.25, gate=gate, mean=1.5, spread=0.125)
    one.facts["of"] = "grey"
    one.save(path, {"settings": {"seed": 1}})
    x = seeded()
    for found in (load(path), annealing.load(path)):
        assert torch.equal(found.energy(x), one.energy(x))
        assert torch.equal(found.gradient(x), one.gradient(x))
        assert torch.equal(found.denoise(x, 0.7), one.denoise(x, 0.7))
        assert torch.equal(found.gate.open, gate.open)
        assert (found.kind, found.channels, found.sigma, found.form) == ("unet", 2, 0.25, form)
        assert (found.mean, found.spread, found.facts) == (1.5, 0.125, one.facts)
    assert load_tensors(path, "prior")[1]["settings"] == {"seed": 1}


@pytest.mark.parametrize("form", FORMS)
def test_another_noise_level_can_be_asked_for(form, tmp_path):
    path = tmp_path / "unet.safetensors"
    prior(form, sigma=0.25).save(path, {})
    found = load(path, sigma=[18.0, 6.0])
    assert found.sigma == pytest.approx(0.9)
    torch.testing.assert_close(found.energy(seeded()), prior(form, sigma=0.9).energy(seeded()))
    Calibrated(found).anneal(1.0)
    assert found.sigma == pytest.approx(0.3)
    with pytest.raises(ValueError, match=r"holds a unet, which has no option border.*sigma"):
        load(path, border="valid")


# ------------------------------------------------------------------------------ training

SIDE = 12


def blocks(count, seed, spread=1.0):
    """Maps of squares of two values around 3, whose spread is known: what no linear filter denoises well."""
    signs = np.random.default_rng(seed).integers(0, 2, (count, 1, SIDE // 4, SIDE // 4)) * 2 - 1
    return (3 + spread * np.kron(signs, np.ones((4, 4)))).astype(np.float32)


def settings(**changes):
    values = {"form": "direct", "widths": [4, 6], "blocks": 1, "fold": 1, "sigma": 50}
    values |= {"noise_levels": (20, 200), "steps": 8, "batch": 4, "rate": 1e-2}
    values |= {"average": 0.02, "crop": 8, "precision": "float32"}
    return unet.Settings(**values | changes)


@pytest.fixture
def train(tmp_path):
    def run(plan, seed=0, interval=1e9, maps=None, kept=None):
        maps = blocks(40, 0) if maps is None else maps
        kept = blocks(20, 1) if kept is None else kept
        checkpoint = Checkpoint(tmp_path / "prior", "key", interval)
        return unet.train(maps, kept, plan, seed, checkpoint)

    return run


@pytest.fixture(scope="module", params=FORMS)
def trained(request, tmp_path_factory):
    """One of maps whose spread is 5, which its noise levels in percent must follow."""
    checkpoint = Checkpoint(tmp_path_factory.mktemp("unet") / "prior", "key", 1e9)
    plan = settings(form=request.param, widths=[8, 12], steps=200, batch=16, crop=SIDE)
    return unet.train(blocks(300, 0, 5.0), blocks(60, 1, 5.0), plan, 0, checkpoint)


@pytest.mark.parametrize("level", [1.2, 3.0, 8.0])
def test_training_beats_the_filter_on_what_is_not_gaussian(level, trained):
    one, history = trained
    assert history[-1][2] < history[0][2] < 1
    assert one.gate.open.tolist() == [1.0] * unet.KNOTS
    clean = torch.from_numpy(blocks(200, 2, 5.0))
    noisy = clean + level * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = (
        (found.denoise(noisy, level) - clean).square().mean()
        for found in (one, one.correct.spectrum)
    )
    assert ours < 0.75 * theirs


def test_levels_are_in_units_of_the_maps(trained):
    one, _ = trained
    assert one.sigma == pytest.approx(2.5, rel=0.02)
    assert one.gate.levels.tolist()[:: unet.KNOTS - 1] == pytest.approx([1.0, 10.0], rel=0.02)


@pytest.mark.parametrize("form", FORMS)
def test_the_objective_of_an_untrained_network_is_that_of_the_filter(form, train):
    """Its error as a share of the filter's own, at all levels."""
    _, history = train(settings(form=form, rate=1e-12, steps=1, batch=32, crop=SIDE))
    assert history[0][1] == pytest.approx(1, abs=0.15)
    assert history[0][2] == pytest.approx(1, abs=0.15)


def test_a_network_that_does_not_beat_the_filter_is_not_used():
    held = blocks(20, 1)
    known, _ = unet.spectral.train(blocks(40, 0), held, 50)
    gate = Gate(unet.knots(0.2, 2.0), torch.ones(unet.KNOTS))
    random = UNet(known, network(1), gate, "direct", known.sigma)
    assert unet.better(random, held, 0).tolist() == [0.0] * unet.KNOTS

    class AtLowNoise(Network):
        """It knows that maps are 2 or 4, and at more noise it errs."""

        def forward(self, x, told):
            kept, _ = x.chunk(2, 1)
            q, m = float(known.variances.mean().sqrt()), float(known.centre)
            s = (2 * told).exp().view(-1, 1, 1, 1) * q
            right = 3 + (kept * q + m - 3).sign() - (kept * q + m)
            e = known.error(s.flatten()).sqrt().float().view(-1, 1, 1, 1)
            return torch.where(s < 0.6, right, 1.0) / e

    some = UNet(known, AtLowNoise(1, WIDTHS, 1, 1), gate, "direct", known.sigma)
    expected = [float(level < 0.6) for level in gate.levels]
    assert unet.better(some, held, 0).tolist() == expected
    assert 0 < sum(expected) < unet.KNOTS


def test_crops_are_of_each_map_its_own():
    x = seeded(3, 2, 7, 9)
    found = unet.cut(x, [[0, 0], [3, 5], [1, 2]], 4)
    for index, (top, left) in enumerate([(0, 0), (3, 5), (1, 2)]):
        assert torch.equal(found[index], x[index, :, top : top + 4, left : left + 4])


def test_the_filter_sees_whole_maps_and_the_network_crops_of_them(train, monkeypatch):
    sizes = {"filter": set(), "network": set()}
    plain, forward = Spectral.denoise, Network.forward

    def denoise(self, x, sigma=None):
        sizes["filter"].add(x.shape[-1])
        return plain(self, x, sigma)

    def see(self, x, told):
        sizes["network"].add(x.shape[-1])
        return forward(self, x, told)

    monkeypatch.setattr(Spectral, "denoise", denoise)
    monkeypatch.setattr(Network, "forward", see)
    monkeypatch.setattr(unet, "better", lambda prior, held_out, seed: torch.ones(unet.KNOTS))
    train(settings(crop=8))
    assert sizes == {"filter": {SIDE}, "network": {8}}
    sizes["network"].clear()
    train(settings(crop=8, form="gradient_step"))
    assert sizes["network"] == {8}


@pytest.mark.parametrize(("average", "expected"), [(0.0, 0.0), (0.1, 0.9), (0.5, 0.98)])
def test_weights_are_averaged_over_a_share_of_the_steps(average, expected):
    assert settings(average=average, steps=100).decay == pytest.approx(expected)


@pytest.mark.parametrize("form", FORMS)
def test_a_resumed_training_ends_as_an_unbroken_one(form, train, stopping_after):
    plan = settings(form=form, average=0.5)
    whole, history = train(plan)
    with stopping_after(5):
        train(plan, interval=0)
    rest, continued = train(plan)
    for name, value in whole.correct.network.state_dict().items():
        assert torch.equal(value, rest.correct.network.state_dict()[name]), name
    assert torch.equal(whole.gate.open, rest.gate.open)
    assert [row[:3] for row in map(tuple, continued)] == [row[:3] for row in history]


def test_images_are_bytes_in_steps_of_one_in_255(train):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 20, 20), dtype=np.uint8)
    plan = settings(steps=2, noise_levels=(2.55, 510.0), sigma=5.0, fold=2)
    one, _ = train(plan, maps=pixels, kept=pixels)
    assert one.sigma == pytest.approx(5 / 255)
    assert one.channels == 3
    assert one.gate.levels.tolist()[:: unet.KNOTS - 1] == pytest.approx([0.01, 2.0])
    assert one.facts["noise_levels"] == (2.55, 510.0)


@pytest.mark.parametrize("form", FORMS)
def test_maps_of_one_position_are_denoised_too(form, train):
    codes = np.random.default_rng(0).standard_normal((30, 5, 1, 1)).astype(np.float32)
    one, history = train(settings(steps=3, fold=2, form=form), maps=codes, kept=codes[:4])
    assert one.denoise(torch.from_numpy(codes)).shape == (30, 5, 1, 1)
    assert math.isfinite(history[-1][2])


def test_another_seed_gives_another_network(train):
    first, second = (train(settings(steps=2), seed)[0].correct.network for seed in (0, 1))
    assert not torch.equal(first.enter.weight, second.enter.weight)
