import math

import pytest
import torch
import torch.nn.functional as F

from deep_restoration.inversion import annealed
from deep_restoration.inversion.annealed import Annealing, anneal
from deep_restoration.inversion.preimage import Term
from deep_restoration.inversion.surrogates import Level, Surrogates, schedule
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError

SIZE, K = 12, 4
NAMES = ["cat", "dog", "eel"]


def plan(**changes):
    values = {"prior": "wiener", "noise": (255.0, 25.5), "levels": 3, "steps": 4, "rate": 0.2}
    values |= {"pull": 0.6, "renoise": 0.5, "components": K, "samples": 1}
    return Annealing(**values | changes)


def maps_of(x):
    draw = torch.Generator().manual_seed(1)
    return F.softplus(F.conv2d(x - 0.5, torch.randn(5, 3, 3, 3, generator=draw)))


def network(x):
    return {"layer": maps_of(x), "front": torch.tanh(x[:, :2])}


def denoise(x, s):
    """Wiener's filter of white maps of variance 1/25 around grey."""
    return 0.5 + 0.04 / (0.04 + s**2) * (x - 0.5)


def surrogates(levels=3):
    draw = torch.Generator().manual_seed(2)
    parts = [
        Level(
            torch.randn(K, K, generator=draw),
            torch.randn(K, generator=draw),
            torch.randn(K, K, generator=draw),
        )
        for _ in range(levels)
    ]
    axes = torch.linalg.qr(torch.randn(5, 5, generator=draw))[0][:K]
    return Surrogates(torch.full((5,), 0.7), axes, [0.0] * levels, parts, [0.0] * levels)


def pictures(count=3):
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


class Noisy:
    """An energy of images or maps, at a noise level that falls."""

    sigma = 0.0

    def anneal(self, progress):
        self.sigma = 2 - progress

    def energy(self, x, generator=None):
        return (x - 0.3).pow(4).flatten(1).mean(1) / self.sigma

    def select(self, index):
        return self


def terms():
    return {"image": Term(0.5, Noisy()), "maps": Term(0.25, Noisy(), "front")}


def run(tmp_path, p=None, names=NAMES, truth=None, network=network, interval=math.inf, terms=None):
    images = pictures()[: len(names)] if truth is None else truth
    start = torch.full_like(images, 0.5)
    checkpoint = Checkpoint(tmp_path / "x", "key", interval)
    target = maps_of(images)
    plan_, known = p or plan(), surrogates()
    about = (plan_, target, names, start, 7, checkpoint, images, terms)
    return anneal(network, "layer", denoise, known, *about)


def test_levels_fall_by_the_same_factor():
    assert schedule((255.0, 25.5), 3) == pytest.approx([1, math.sqrt(0.1), 0.1])
    assert annealed.gradients(plan(levels=3, steps=4, samples=5)) == 60


def test_steps_are_smaller_where_a_layer_has_fewer_values():
    assert plan().step_size(400, 432) == pytest.approx(0.2 * math.sqrt(400 / 432))
    assert plan().step_size(1000, 432) == 0.2


@pytest.mark.parametrize("more", [False, True], ids=["denoiser", "more priors"])
def test_a_run_is_the_formula_by_hand(tmp_path, more):
    """Levels one after the other, with torch's Adam, the objective written out image by image."""
    from deep_restoration.runtime import seeds

    p, known = plan(), surrogates()
    images, levels = pictures(), schedule(p.noise, 3)
    expected, rate = [], 0.2 * math.sqrt(K * 10 * 10 / (3 * SIZE * SIZE))
    for name, image in zip(NAMES, images, strict=True):

        def noise(number, name=name):
            generator = seeds.generator(7, "anneal", 0, number, name)
            return torch.randn((3, SIZE, SIZE), generator=generator)

        y = known.components @ (maps_of(image[None])[0].flatten(1) - 0.7)
        x = 0.5 + levels[0] * noise(0)
        for number, (s, (A, b, W)) in enumerate(zip(levels, known.levels, strict=True)):
            z = x.clone().requires_grad_()
            adam = torch.optim.Adam([z], rate * s, betas=(0.9, 0.99), eps=0)
            for _ in range(4):
                f = known.components @ (maps_of(denoise(z[None], s))[0].flatten(1) - 0.7)
                e = W @ y - b[:, None] - A @ f
                objective = e.square().sum() / 2 + 0.6 / 2 * (z - x).square().sum() / s**2
                if more:
                    seen, sigma = denoise(z, s), 2 - number / 2
                    on_image = (seen - 0.3).pow(4).mean()
                    on_maps = (torch.tanh(seen[:2]) - 0.3).pow(4).mean()
                    objective += K * 100 * (0.5 * on_image + 0.25 * on_maps) / sigma
                adam.zero_grad()
                objective.backward()
                adam.step()
            x = denoise(z.detach(), s)
            if number < 2:
                x = x + 0.5 * levels[number + 1] * noise(number + 1)
        expected.append(x.clamp(0, 1))
    found = run(tmp_path, p, terms=terms() if more else None)
    assert torch.allclose(found.images, torch.stack(expected), atol=1e-4)


def test_an_image_does_not_depend_on_its_neighbours(tmp_path):
    together = run(tmp_path).images
    for index, name in enumerate(NAMES):
        alone = run(tmp_path, names=[name], truth=pictures()[index : index + 1]).images
        assert torch.allclose(alone[0], together[index], atol=1e-5)


def test_several_samples_are_averaged(tmp_path):
    one, two = (run(tmp_path, plan(samples=count, renoise=1.0)) for count in (1, 2))
    assert not torch.allclose(one.images, two.images, atol=1e-3)
    errors = [float(e) for _, term, e, _ in two.trace if term == "image"]
    assert errors[2] == pytest.approx(float((one.images - pictures()).square().mean()), rel=1e-4)
    assert errors[-1] == pytest.approx(float((two.images - pictures()).square().mean()), rel=1e-4)


def test_a_resumed_annealing_ends_as_an_unbroken_one(tmp_path):
    whole = run(tmp_path, plan(samples=2))
    calls = []

    def broken(x):
        calls.append(x)
        if len(calls) == 18:
            raise KeyboardInterrupt
        return network(x)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, plan(samples=2), network=broken, interval=0)
    calls.clear()
    rest = run(tmp_path, plan(samples=2), network=lambda x: calls.append(x) or network(x))
    assert len(calls) == 24 - 16  # from the start of the level in which it was broken
    assert torch.equal(rest.images, whole.images)
    assert [tuple(row[:3]) for row in rest.trace] == [row[:3] for row in whole.trace]


def test_images_that_do_not_fit_into_memory_are_halved(tmp_path, monkeypatch):
    whole = run(tmp_path).images

    def small(x):
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(x)

    assert torch.allclose(run(tmp_path, network=small).images, whole, atol=1e-5)


def test_images_that_are_not_finite_are_named(tmp_path):
    def lost(x):
        maps = maps_of(x)
        return {"layer": torch.cat([maps[:1], maps[1:2] * math.nan, maps[2:]])}

    with pytest.raises(
        DivergedError, match=r"annealing of dog diverged at noise level 1 .*its rate"
    ):
        run(tmp_path, network=lost)


def test_the_trace_counts_gradients(tmp_path):
    trace = run(tmp_path).trace
    assert [row[:2] for row in trace] == [
        (at, term) for at in (4, 8, 12) for term in ("residual", "image", "ssim")
    ]


def test_a_planted_gaussian_is_found_from_noise(tmp_path):
    """White images behind an invertible linear map whose surrogates are exact: from noise almost all of
    them is found, and the residual is about that of the truth."""
    draw = torch.Generator().manual_seed(5)
    mix = torch.linalg.qr(torch.randn(3, 3, generator=draw))[0]

    def linear(x):
        return {"layer": torch.einsum("kc,nchw->nkhw", mix, x)}

    truth = 0.5 + 0.2 * torch.randn(2, 3, 12, 12, generator=draw)
    p = plan(noise=(255.0, 2.55), levels=8, steps=40, rate=0.1, pull=1.0, renoise=0.0)
    levels, tau = schedule(p.noise, 8), 0.001
    parts = []
    for s in levels:
        # x given D(x + s n): D itself, with the variance v s^2 / (v + s^2) that is left, and tau^2 beside.
        root = 1 / math.sqrt(0.04 * s**2 / (0.04 + s**2) + tau**2)
        parts.append(Level(root * torch.eye(3), torch.zeros(3), root * torch.eye(3)))
    known = Surrogates(torch.zeros(3), torch.eye(3), levels, parts, [0.0] * 8)
    never = Checkpoint(tmp_path / "x", "key", math.inf)
    start = torch.full_like(truth, 0.5)
    about = (p, linear(truth)["layer"], NAMES[:2], start, 7, never, truth)
    found = anneal(linear, "layer", denoise, known, *about)
    clipped = truth.clamp(0, 1)
    assert (found.images - clipped).square().mean() < 0.02 * (start - clipped).square().mean()
