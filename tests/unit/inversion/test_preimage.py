import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from deep_restoration.evaluation import metrics
from deep_restoration.files.tensors import load_tensors
from deep_restoration.inversion import mahendran_vedaldi, optimisers, preimage, schedules
from deep_restoration.inversion.data_terms import Matching
from deep_restoration.inversion.preimage import Term
from deep_restoration.inversion.recipe import Recipe
from deep_restoration.networks import graph, receptive_fields, sources, trace
from deep_restoration.priors.base import Calibrated, Prior
from deep_restoration.priors.field import FieldOfExperts
from deep_restoration.priors.norms import ColourNorm
from deep_restoration.priors.total_variation import TotalVariation
from deep_restoration.runtime import seeds
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError

SIGMA = 27098.1157
MEAN = torch.tensor([0.45, 0.5, 0.4]).view(1, 3, 1, 1)
SIZE = 21


# ------------------------------------------------------------------------------ constants by depth


@pytest.fixture(scope="module")
def alexnet():
    with torch.device("meta"):
        return receptive_fields.of_layers(trace.trace(sources.alexnet_lrn()), 227)[0]


@pytest.fixture(scope="module")
def vgg():
    with torch.device("meta"):
        steps = sources.steps_of("vgg16", sources.build("vgg16"))
    return receptive_fields.of_layers(steps, 224)[0]


def column(layers, function):
    """The values of a function over all layers but image, resize, flatten and dropout."""
    kinds = ("conv", "relu", "norm", "pool", "fc")
    return {
        name: function(see["stride"], see["receptive_field"])
        for name, see in layers.items()
        if name.startswith(kinds)
    }


def test_data_weights_of_2016_for_alexnet(alexnet):
    expected = dict.fromkeys("conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2".split(), 300)
    expected |= {"conv3": 300, "relu3": 300, "conv4": 100, "relu4": 100, "conv5": 20, "relu5": 20}
    expected |= dict.fromkeys("pool5 fc6 relu6 fc7 relu7 fc8".split(), 1)
    assert column(alexnet, mahendran_vedaldi.data_weight_2016) == expected


def test_data_weights_of_2016_for_vgg16(vgg):
    found = column(vgg, mahendran_vedaldi.data_weight_2016)
    names = list(found)
    for name in names[: names.index("relu4_3") + 1]:
        assert found[name] == 300, name
    expected = {"pool4": 100, "conv5_1": 100, "relu5_1": 100, "conv5_2": 20, "relu5_2": 20}
    expected |= {"conv5_3": 20, "relu5_3": 20}
    expected |= dict.fromkeys("pool5 fc6 relu6 fc7 relu7 fc8".split(), 1)
    assert {name: found[name] for name in names[names.index("pool4") :]} == expected


def test_tv_weights_of_2015_for_alexnet(alexnet):
    expected = dict.fromkeys("conv1 relu1 norm1 pool1 conv2 relu2".split(), 0.5)
    expected |= dict.fromkeys("pool2 norm2 conv3 relu3 conv4 relu4".split(), 5)
    expected |= dict.fromkeys("conv5 relu5 pool5 fc6 relu6 fc7 relu7 fc8".split(), 50)
    # In the network of the paper pooling comes before normalisation.
    found = column(alexnet, lambda _, field: mahendran_vedaldi.by_depth((0.5, 5, 50), field))
    found["norm2"] = mahendran_vedaldi.by_depth((0.5, 5, 50), 67)
    assert found == expected


def test_jitter_of_2016(alexnet, vgg):
    found = column(alexnet, lambda stride, _: mahendran_vedaldi.jitter_of(stride))
    expected = dict.fromkeys("conv1 relu1 norm1".split(), 1)
    expected |= dict.fromkeys("pool1 conv2 relu2 norm2".split(), 2)
    expected |= dict.fromkeys("pool2 conv3 relu3 conv4 relu4 conv5 relu5".split(), 4)
    expected |= dict.fromkeys("pool5 fc6 relu6 fc7 relu7 fc8".split(), 8)
    assert found == expected
    found = column(vgg, lambda stride, _: mahendran_vedaldi.jitter_of(stride))
    shifts = {"pool3": 2, "conv4": 2, "relu4": 2, "pool4": 4, "conv5": 4, "relu5": 4, "pool5": 8}
    shifts |= dict.fromkeys("fc6 relu6 fc7 relu7 fc8".split(), 8)
    for name, shift in found.items():
        assert shift == shifts.get(name.partition("_")[0], 1), name
    assert mahendran_vedaldi.jitter_of(1) == mahendran_vedaldi.jitter_of(2) == 1


def test_published_weights_hold_on_the_scale_of_pixels():
    pixels = 227 * 227
    assert mahendran_vedaldi.tv_weight_2015(11) == pytest.approx(0.5 * pixels / SIGMA**2)
    assert mahendran_vedaldi.tv_weight_2015(None) == pytest.approx(50 * pixels / SIGMA**2)
    assert mahendran_vedaldi.alpha_weight_2015() == pytest.approx(2.16e8 * pixels / SIGMA**6)
    # The released code has 8e-10 and 1, each halved, on unscaled images with gradients over sigma^2.
    assert mahendran_vedaldi.alpha_weight_2015() == pytest.approx(
        0.5 * 8e-10 * pixels / SIGMA**2, rel=1e-2
    )
    assert mahendran_vedaldi.tv_weight_2015(11) == pytest.approx(0.5 * 1 * pixels / SIGMA**2)


# ------------------------------------------------------------------------------ optimisers


RATES = [0.3, 0.3, 0.3, 0.1, 0.1]
PIXELS = 12  # of an image of 3 x 4 on a canvas of 4 x 5


def gradients(shape):
    draw = np.random.default_rng(0)
    return [draw.standard_normal(shape) * 10.0 ** draw.integers(-6, 2) for _ in RATES]


def literal_momentum(u, steps):
    mu = np.zeros_like(u)
    scale = SIGMA**2 * PIXELS / 227**2
    for i, gradient in enumerate(steps):
        if i > 0 and RATES[i] != RATES[i - 1]:
            mu = np.zeros_like(u)
        mu = 0.9 * mu - RATES[i] * scale * gradient
        u = u + mu
    return u


def literal_adagrad(u, steps):
    G, m = np.zeros_like(u), np.zeros_like(u)
    for i, gradient in enumerate(steps):
        if i > 0 and RATES[i] != RATES[i - 1]:
            m = np.zeros_like(u)
        lr = RATES[i] * PIXELS
        G = 0.9 * G + gradient**2
        m = 0.9 * m - gradient / (1 / lr + np.sqrt(G))
        u = u + m
    return u


def literal_adam(u, steps):
    m, v = np.zeros_like(u), np.zeros_like(u)
    for i, gradient in enumerate(steps):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        first, second = m / (1 - 0.9 ** (i + 1)), v / (1 - 0.999 ** (i + 1))
        u = u - RATES[i] * first / (np.sqrt(second) + 1e-12 / math.sqrt(1 - 0.999 ** (i + 1)))
    return u


def literal_lbfgs(u, steps):
    """H by the recursion of BFGS on whole matrices; without a pair, the step is as long as its bound."""
    result, size = u.copy(), u[0].size
    for image in range(len(u)):
        x, before, pairs = u[image].ravel().copy(), None, []
        for rate, gradient in zip(RATES, steps, strict=True):
            g = gradient[image].ravel()
            H = np.eye(size) * 1e12
            if before is not None:
                s, y = x - before[0], g - before[1]
                if s @ y > 1e-10 * (y @ y):
                    pairs.append((s, y))
                    H = np.eye(size) * (s @ y) / (y @ y)
            before = x.copy(), g
            for s, y in pairs:
                V = np.eye(size) - np.outer(y, s) / (s @ y)
                H = V.T @ H @ V + np.outer(s, s) / (s @ y)
            direction = H @ g
            length = np.sqrt(np.mean(direction**2))
            x = x - direction * min(1, rate / length)
        result[image] = x.reshape(u[image].shape)
    return result


LITERAL = {
    "adagrad2016": literal_adagrad,
    "adam": literal_adam,
    "lbfgs": literal_lbfgs,
    "momentum": literal_momentum,
}


@pytest.mark.parametrize("name", sorted(optimisers.OPTIMISERS))
def test_optimisers_take_their_published_steps(name):
    shape = (2, 3, 4, 5)
    start = np.random.default_rng(1).standard_normal(shape)
    u = torch.from_numpy(start.copy())
    optimiser = optimisers.OPTIMISERS[name](u, PIXELS)
    for i, gradient in enumerate(gradients(shape)):
        if i == 0 or RATES[i] != RATES[i - 1]:
            optimiser.start_phase()
        optimiser.step(u, torch.from_numpy(gradient), RATES[i], i + 1)
    expected = LITERAL[name](start, gradients(shape))
    np.testing.assert_allclose(u.numpy(), expected, rtol=1e-11, atol=1e-11)


def test_adam_is_that_of_torch():
    u = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    other = u.clone().requires_grad_()
    reference = torch.optim.Adam([other], lr=0.5, eps=1e-12)
    optimiser = optimisers.Adam(u, 16)
    for count, gradient in enumerate(gradients((1, 3, 4, 4)), start=1):
        gradient *= 1e6  # far from epsilon, which the two add in different places
        other.grad = torch.from_numpy(gradient)
        reference.step()
        optimiser.step(u, torch.from_numpy(gradient), 0.5, count)
    torch.testing.assert_close(u, other.detach(), rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------ start noise


def test_gaussian_starts_have_the_norm_of_a_natural_image():
    for size in (227, 64):
        noise = preimage.init_noise("gaussian", (3, size, size), 0, "cat")
        assert noise.norm().item() == pytest.approx(SIGMA * size / 227, rel=1e-5)
        assert abs(noise.mean().item()) < 0.05 * noise.std().item()


def test_uniform_starts_have_their_quantile_at_b_over_root_three():
    noise = preimage.init_noise("uniform", (3, 64, 64), 0, "cat")
    assert np.quantile(noise.numpy(), 0.95) == pytest.approx(80 / math.sqrt(3), rel=1e-3)
    assert noise.min() == pytest.approx(-80 / math.sqrt(3) / 0.9, rel=0.02)
    counts = torch.histc(noise, 10)
    assert counts.std() / counts.mean() < 0.1


@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
def test_starts_depend_on_seed_and_name(kind):
    def start(seed, name):
        return preimage.init_noise(kind, (3, 8, 8), seed, name)

    assert torch.equal(start(0, "cat"), start(0, "cat"))
    assert not torch.allclose(start(0, "cat"), start(0, "dog"))
    assert not torch.allclose(start(0, "cat"), start(1, "cat"))


def test_unknown_starts_are_refused():
    with pytest.raises(ValueError, match="'zero'; allowed: gaussian, uniform, mean"):
        preimage.init_noise("zero", (3, 4, 4), 0, "cat")


# ------------------------------------------------------------------------------ reconstruction


@pytest.fixture
def reconstruct(network, pictures, tmp_path):
    def run(
        plan, priors=None, rows=(0, 1, 2), interval=1e9, seed=0, target=None, names="abc", **more
    ):
        rows = list(rows)
        target = network(pictures[rows])["conv2"] if target is None else target
        checkpoint = Checkpoint(tmp_path / "x", ["key", rows], interval)
        chosen = [names[i] for i in rows]
        data = Matching("conv2", target, chosen)
        return preimage.reconstruct(
            network, data, chosen, SIZE, MEAN, priors or {}, plan, seed, checkpoint, **more
        )

    return run


def learned(position_stride):
    draw = torch.Generator().manual_seed(5)
    filters = torch.randn(6, 3, 4, 4, generator=draw)
    alphas = torch.rand(6, generator=draw)
    prior = FieldOfExperts(
        filters,
        torch.zeros(6),
        alphas,
        "student_t",
        mean=1.0,
        spread=2.0,
        position_stride=position_stride,
    )
    return Calibrated(prior)


def plan(*phases, **changes):
    values = {"data_weight": 20.0, "optimiser": "adam"}
    return preimage.Plan(**values | changes, phases=phases)


PHASES = (schedules.Phase(7, 6.0, jitter=True), schedules.Phase(5, 3.0, decay=True))
ALL = {
    "ica": Term(0.1, learned(3)),
    "tv": Term(1.0, TotalVariation(V=12.31)),
    "r": Term(1.0, ColourNorm(MEAN)),
}


@pytest.mark.parametrize("optimiser", sorted(optimisers.OPTIMISERS))
def test_a_batch_gives_what_single_runs_give(reconstruct, optimiser):
    rate = {"adam": 6.0, "lbfgs": 6.0, "adagrad2016": 50.0, "momentum": 1e-4}[optimiser]
    phases = schedules.Phase(7, rate, jitter=True), schedules.Phase(5, rate / 10, decay=True)
    recipe, terms = plan(*phases, optimiser=optimiser, jitter=4), ALL
    if optimiser == "lbfgs":
        recipe, terms = plan(schedules.Phase(9, rate), optimiser=optimiser), {"tv": ALL["tv"]}
    together = reconstruct(recipe, terms)
    assert together.images.shape == (3, 3, SIZE, SIZE)
    for row in range(3):
        alone = reconstruct(recipe, terms, [row])
        difference = (alone.images[0] - together.images[row]).abs().max().item()
        assert difference < 1e-4
    assert (together.images[0] - together.images[1]).abs().mean() > 0.01


@pytest.mark.parametrize("optimiser", sorted(optimisers.OPTIMISERS))
def test_a_resumed_reconstruction_ends_as_an_unbroken_one(reconstruct, stopping_after, optimiser):
    recipe = plan(*PHASES, optimiser=optimiser, jitter=4, init="gaussian", box=True)
    whole = reconstruct(recipe, ALL)
    for stop in (3, 4, 2):  # after iterations 3, 7 (the end of a run) and 9
        with stopping_after(stop):
            reconstruct(recipe, ALL, interval=0)
    rest = reconstruct(recipe, ALL)
    assert torch.equal(rest.images, whole.images)
    assert [tuple(row[:3]) for row in rest.trace] == [row[:3] for row in whole.trace]


def test_the_trace_has_every_term_of_every_iteration(reconstruct):
    result = reconstruct(plan(schedules.Phase(60, 1.0)), ALL)
    terms = ["total", "data", "ica", "tv", "r"]
    assert [row[:2] for row in result.trace] == [(i, t) for i in range(1, 61) for t in terms]
    for i in range(0, len(result.trace), 5):
        total, data, ica, tv, colour = (row[2] for row in result.trace[i : i + 5])
        assert total == pytest.approx(20 * data + 0.1 * ica + tv + colour, rel=1e-4)


def test_another_seed_starts_elsewhere(reconstruct):
    first, again, other = (
        reconstruct(plan(schedules.Phase(1, 0.1)), seed=seed).images for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 0.02


@pytest.mark.parametrize("jitter", [1, 4, 5])
def test_an_image_to_start_from_takes_the_place_of_noise(jitter, reconstruct, pictures):
    result = reconstruct(plan(jitter=jitter), start=pictures)
    torch.testing.assert_close(result.images, pictures, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("jitter", "before"), [(1, 0), (2, 0), (4, 1), (5, 2)])
def test_a_start_is_in_the_middle_of_its_canvas_in_a_frame_of_the_mean_colour(
    jitter, before, reconstruct, pictures, tmp_path
):
    recipe = plan(schedules.Phase(1, 1e-9, jitter=True), jitter=jitter)
    reconstruct(recipe, start=pictures, interval=0)
    u = load_tensors(tmp_path / "x.checkpoint", "checkpoint")[0]["variable"]
    expected = torch.zeros(3, 3, SIZE + jitter - 1, SIZE + jitter - 1)
    inner = slice(before, before + SIZE)
    expected[..., inner, inner] = 255 * (pictures - MEAN)
    torch.testing.assert_close(u, expected, rtol=0, atol=1e-3)


def test_from_the_image_itself_the_error_is_small_at_once(reconstruct, pictures):
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    near = (pictures + 0.01 * noise).clamp(0, 1)
    recipe = plan(schedules.Phase(1, 0.01))
    first, noise = (reconstruct(recipe, start=start).trace[1] for start in (near, None))
    assert first[1] == noise[1] == "data"
    assert first[2] < 0.1 * noise[2]


def test_a_start_of_negative_objective_has_not_diverged(reconstruct, pictures):
    class Constant(Prior):
        def energy(self, x, generator=None):
            return x.flatten(1).sum(1) * 0 - 5

    recipe = plan(schedules.Phase(4, 0.5))
    result = reconstruct(recipe, {"natural": Term(1.0, Constant())}, start=pictures)
    totals = [row[2] for row in result.trace if row[1] == "total"]
    assert len(totals) == 4
    assert max(totals) < 0


def test_the_trace_tells_the_error_of_the_image_without_using_it(reconstruct, pictures):
    recipe = plan(schedules.Phase(3, 4.0), jitter=4)
    told, untold = reconstruct(recipe, truth=pictures), reconstruct(recipe)
    assert torch.equal(told.images, untold.images)
    errors = [row for row in told.trace if row[1] == "image"]
    assert [row[0] for row in errors] == [1, 2, 3]
    before = reconstruct(plan(schedules.Phase(2, 4.0), jitter=4)).images
    expected = float((before - pictures).square().mean())
    assert errors[2][2] == pytest.approx(expected, rel=1e-4)


def test_the_trace_tells_the_ssim_at_growing_distances_and_at_the_end(reconstruct, pictures):
    recipe = plan(schedules.Phase(12, 4.0))
    result = reconstruct(recipe, truth=pictures)
    rows = [row for row in result.trace if row[1] == "ssim"]
    assert [row[0] for row in rows] == [2, 3, 4, 6, 9, 12]
    before = reconstruct(plan(schedules.Phase(11, 4.0))).images
    arrays = (x.permute(0, 2, 3, 1).numpy() for x in (pictures, before))
    assert rows[-1][2] == pytest.approx(metrics.ssim(*arrays).mean(), abs=1e-5)
    seconds = [row[3] for row in result.trace if row[1] == "data"]
    assert rows[-1][3] >= seconds[-1]
    assert result.seconds < rows[-1][3] + 0.05  # the clock stands while we look


def test_the_error_of_the_image_is_that_of_values_within_bounds(reconstruct, pictures):
    start = 3 * pictures - 1
    assert (start < 0).any()
    assert (start > 1).any()
    result = reconstruct(plan(schedules.Phase(1, 0.1)), start=start, truth=pictures)
    (error,) = (row[2] for row in result.trace if row[1] == "image")
    expected = ((start.clamp(0, 1) - pictures) ** 2).mean().item()
    assert error == pytest.approx(expected, rel=1e-4)


def test_a_resumed_reconstruction_does_not_start_again(reconstruct, pictures, stopping_after):
    recipe, start = plan(*PHASES, jitter=4), pictures.flip(3)
    whole = reconstruct(recipe, ALL, start=start, truth=pictures)
    with stopping_after(5):
        reconstruct(recipe, ALL, start=start, truth=pictures, interval=0)
    rest = reconstruct(recipe, ALL, start=start, truth=pictures)
    assert torch.equal(rest.images, whole.images)
    assert [tuple(row[:3]) for row in rest.trace] == [row[:3] for row in whole.trace]
    assert {row[1] for row in rest.trace} == {"total", "data", "ica", "tv", "r", "image", "ssim"}


def test_mean_starts_are_the_mean_colour(reconstruct):
    result = reconstruct(plan(init="mean", jitter=4))
    torch.testing.assert_close(result.images, MEAN.expand(3, 3, SIZE, SIZE))
    assert result.trace == []


def literal_run(weight, bias, target, u, size, C, rates, shifts, V, B):
    """A run of the released code of 2016 on one convolution, in float64: G and m begin at zero, priors are
    means over the whole canvas, the rate counts the pixels of the image, and its crop moves."""
    G, m = torch.zeros_like(u), torch.zeros_like(u)
    canvas, rate_before = u.shape[2] * u.shape[3], None
    for rate, (top, left) in zip(rates, shifts, strict=True):
        u.requires_grad_()
        x = MEAN.double() + u[:, :, top : top + size, left : left + size] / 255
        maps = nn.functional.conv2d(x, weight, bias, stride=2)
        E = C * (maps - target).pow(2).sum() / target.pow(2).sum()
        right, down = u[..., :, 1:] - u[..., :, :-1], u[..., 1:, :] - u[..., :-1, :]
        E = E + (right.pow(2).sum() + down.pow(2).sum()) / canvas / V**2
        E = E + u.pow(2).sum(1).pow(3).sum() / canvas / B**6
        (gradient,) = torch.autograd.grad(E, u)
        u = u.detach()
        if rate != rate_before:
            m, rate_before = torch.zeros_like(u), rate
        G = 0.9 * G + gradient**2
        m = 0.9 * m - gradient / (1 / (rate * size * size) + G.sqrt())
        u = u + m
        u = u * (2 * B / u.norm(dim=1, keepdim=True)).clamp(max=1)
    return u


@pytest.mark.parametrize(("stride", "T"), [(2, 1), (8, 2), (16, 4)])
def test_the_recipe_of_2016_is_its_literal_transcription(stride, T, tmp_path):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3, stride=2)
    steps = trace.trace(nn.Sequential(OrderedDict(conv1=layer)))
    state = {f"conv1.{name}": value.detach() for name, value in layer.state_dict().items()}
    network = graph.Network(steps, ["conv1"]).load(state)
    target = network(torch.rand(1, 3, 9, 9))["conv1"]
    recipe = {
        "data_weight": 100.0,
        "optimiser": "adagrad2016",
        "init": "uniform",
        "bound": 160.0,
        "phases": [
            {"iterations": 12, "rate": 53.33, "jitter": True},
            {"iterations": 4, "rate": 20.0, "jitter": True},
            {"iterations": 6, "rate": 5.333},
        ],
    }
    terms = {
        "c": Term(1.0, ColourNorm(MEAN, 6.0, 80.0)),
        "tv": Term(1.0, TotalVariation(2.0, 12.31)),
    }
    found = preimage.reconstruct(
        network,
        Matching("conv1", target, ["cat"]),
        ["cat"],
        9,
        MEAN,
        terms,
        Recipe.of(recipe).plan({"stride": stride, "receptive_field": 3}),
        0,
        Checkpoint(tmp_path / "x", "key"),
    ).images
    # The first run: on a canvas with room for the jitter. The numbers of a phase are a stream of their own.
    shifts = []
    for count, stream in ((12, ()), (4, (1,))):
        draws = seeds.generator(0, "preimage", "jitter", *stream)
        shifts += [torch.randint(T, (2,), generator=draws).tolist() for _ in range(count)]
    assert T == 1 or len({tuple(shift) for shift in shifts}) > 2
    known = [values.detach().double() for values in (layer.weight, layer.bias, target)]
    u = preimage.init_noise("uniform", (3, 8 + T, 8 + T), 0, "cat")[None].double()
    u = literal_run(*known, u, 9, 100.0, [53.33] * 12 + [20.0] * 4, shifts, 12.31, 80.0)
    # The second: from its middle, without jitter.
    middle = slice((T - 1) // 2, (T - 1) // 2 + 9)
    u = u[..., middle, middle].clone()
    u = literal_run(*known, u, 9, 100.0, [5.333] * 6, [(0, 0)] * 6, 12.31, 80.0)
    expected = (MEAN + u / 255).clamp(0, 1)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-3)


def test_a_phase_that_differs_in_jitter_or_priors_begins_a_run(reconstruct, monkeypatch):
    seen = []

    class Recording(optimisers.Adam):
        def step(self, u, gradient, rate, count):
            fresh = not self.state["first"].any()
            seen.append((u.shape[-1] - SIZE, count, fresh))
            super().step(u, gradient, rate, count)

    monkeypatch.setitem(optimisers.OPTIMISERS, "adam", Recording)
    phases = [
        schedules.Phase(2, 3.0),
        schedules.Phase(1, 2.0),
        schedules.Phase(2, 3.0, jitter=True),
        schedules.Phase(1, 3.0, jitter=True, priors=False),
        schedules.Phase(1, 1.0, jitter=True, priors=False),
        schedules.Phase(2, 3.0),
    ]
    reconstruct(plan(*phases, jitter=4), ALL)
    run = [(0, 1, True), (0, 2, False), (0, 3, False)]
    run += [(3, 1, True), (3, 2, False), (3, 1, True), (3, 2, False), (0, 1, True), (0, 2, False)]
    assert seen == run


def test_a_run_begins_with_the_image_of_the_one_before(reconstruct, tmp_path):
    """In a frame of the mean colour, or without the frame."""
    first = schedules.Phase(3, 6.0)
    image = reconstruct(plan(first, box=True)).images
    still = schedules.Phase(1, 1e-9, jitter=True)
    reconstruct(plan(first, still, box=True, jitter=4), interval=0)
    u = load_tensors(tmp_path / "x.checkpoint", "checkpoint")[0]["variable"]
    expected = torch.nn.functional.pad(255 * (image - MEAN), (1, 2, 1, 2))
    torch.testing.assert_close(u, expected, rtol=0, atol=1e-3)
    (tmp_path / "x.checkpoint").unlink()
    shaken = schedules.Phase(3, 6.0, jitter=True)
    image = reconstruct(plan(shaken, box=True, jitter=4)).images
    found = reconstruct(plan(shaken, schedules.Phase(1, 1e-9), box=True, jitter=4)).images
    torch.testing.assert_close(found, image, rtol=0, atol=1e-6)


def test_priors_may_be_left_out_of_a_phase(reconstruct):
    bare, full = schedules.Phase(3, 6.0, priors=False), schedules.Phase(2, 6.0)
    result = reconstruct(plan(bare), ALL)
    without = reconstruct(plan(schedules.Phase(3, 6.0)))
    assert torch.equal(result.images, without.images)
    assert [row[:3] for row in result.trace] == [row[:3] for row in without.trace]
    both = reconstruct(plan(bare, full), ALL)
    assert [row[:2] for row in both.trace if row[1] in ALL] == [(i, t) for i in (4, 5) for t in ALL]
    assert all(math.isfinite(row[2]) for row in both.trace)
    assert not torch.allclose(both.images, reconstruct(plan(bare, full)).images, atol=1e-3)


def test_priors_that_come_in_are_no_divergence(reconstruct):
    heavy = {"r": Term(1e7, ColourNorm(MEAN))}
    recipe = plan(schedules.Phase(3, 1.0, priors=False), schedules.Phase(3, 1.0))
    result = reconstruct(recipe, heavy)
    totals = [row[2] for row in result.trace if row[1] == "total"]
    assert totals[3] > 1000 * totals[0]
    assert totals[5] < totals[3]


def states(reconstruct, tmp_path, recipe, stopping_after):
    """The optimised variable after every iteration, from the checkpoints."""
    for _ in range(recipe.phases[0].iterations - 1):
        with stopping_after(1):
            reconstruct(recipe, interval=0)
        yield load_tensors(tmp_path / "x.checkpoint", "checkpoint")[0]["variable"]
    reconstruct(recipe, interval=0)
    yield load_tensors(tmp_path / "x.checkpoint", "checkpoint")[0]["variable"]


def test_the_bound_holds_behind_every_iteration(reconstruct, tmp_path, stopping_after):
    recipe = plan(schedules.Phase(4, 60.0), bound=50.0)
    norms = [u.norm(dim=1) for u in states(reconstruct, tmp_path, recipe, stopping_after)]
    assert len(norms) == 4
    assert all(norm.max() <= 50.0 * (1 + 1e-5) for norm in norms)
    assert norms[-1].max() > 49


def test_the_box_holds_behind_every_iteration(reconstruct, tmp_path, stopping_after):
    recipe = plan(schedules.Phase(4, 60.0, jitter=True), box=True, jitter=3)
    values = [MEAN + u / 255 for u in states(reconstruct, tmp_path, recipe, stopping_after)]
    assert len(values) == 4
    assert values[-1].shape[2:] == (SIZE + 2, SIZE + 2)
    assert all(x.min() >= -1e-6 and x.max() <= 1 + 1e-6 for x in values)
    assert values[-1].min() < 1e-6
    assert values[-1].max() > 1 - 1e-6


def test_dead_layers_name_their_images(reconstruct, network, pictures):
    target = network(pictures)["conv2"]
    target[1] = 0
    with pytest.raises(ValueError, match="feature maps of dog are all zero"):
        reconstruct(plan(*PHASES), target=target, names=["cat", "dog", "cow"])


def test_divergence_at_any_rate_names_image_and_iteration(reconstruct):
    with pytest.raises(DivergedError, match=r"at iteration \d+ diverged .*objective"):
        reconstruct(plan(schedules.Phase(60, 1e30)), {"tv": Term(1.0, TotalVariation())})


def test_divergence_in_the_last_step_is_seen(reconstruct):
    with pytest.raises(DivergedError, match="diverged at iteration 1"):
        reconstruct(plan(schedules.Phase(1, 1e30)))


def test_an_image_that_diverges_restarts_alone_at_a_smaller_rate(
    reconstruct, network, pictures, caplog
):
    caplog.set_level("INFO")
    recipe = plan(schedules.Phase(60, 3e-5), optimiser="momentum")
    target = network(pictures)["conv2"]
    weak = target.clone()
    weak[1] *= 1e-2  # its normalised error is 10^4 times as steep
    names = ["cat", "dog", "cow"]
    calm = reconstruct(recipe, target=target, names=names)
    mixed = reconstruct(recipe, target=weak, names=names)
    kept = [0, 2]
    assert torch.allclose(mixed.images[kept], calm.images[kept], atol=1e-5)
    assert torch.isfinite(mixed.images).all()
    assert "restarting dog" in caplog.text
    assert "restarting c" not in caplog.text


@pytest.fixture(scope="module")
def invertible():
    """A network of one convolution, 3 to 12 channels, that keeps the size."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 12, 3, padding=1)))
    return graph.Network(trace.trace(model), ["conv1"]).load(model.state_dict())


def test_jitter_takes_all_shifts_below_t(invertible, tmp_path):
    data = Matching("conv1", invertible(torch.rand(1, 3, 6, 6))["conv1"], ["a"])

    def corner(seed):
        checkpoint = Checkpoint(tmp_path / "x", seed, 0)
        recipe = plan(schedules.Phase(1, 5.0, jitter=True), init="mean", jitter=4)
        preimage.reconstruct(invertible, data, ["a"], 6, MEAN, {}, recipe, seed, checkpoint)
        u = load_tensors(checkpoint.path, "checkpoint")[0]["variable"]
        assert u.shape == (1, 3, 9, 9)
        rows, columns = u[0].abs().sum(0).nonzero().T  # only what the network saw has moved
        assert rows.max() - rows.min() == columns.max() - columns.min() == 5
        return rows.min().item(), columns.min().item()

    assert {corner(seed) for seed in range(120)} == {(i, j) for i in range(4) for j in range(4)}


def test_priors_sample_from_the_stream_of_the_study(reconstruct):
    prior = learned(3)
    result = reconstruct(plan(schedules.Phase(1, 1.0)), {"ica": Term(0.1, prior)})
    u = torch.stack([preimage.init_noise("uniform", (3, SIZE, SIZE), 0, name) for name in "abc"])
    x = MEAN + u / 255
    sampled = prior.energy(x, seeds.generator(0, "preimage", "jitter")).mean().item()
    value = next(row[2] for row in result.trace if row[1] == "ica")
    assert value == pytest.approx(sampled, rel=1e-5)
    assert value != pytest.approx(prior.energy(x).mean().item(), rel=1e-5)


def test_decaying_rates_fall_by_half_a_cosine_to_a_hundredth(reconstruct, monkeypatch):
    seen = []

    class Recording(optimisers.Adam):
        def step(self, u, gradient, rate, count):
            seen.append((count, rate))
            super().step(u, gradient, rate, count)

    monkeypatch.setitem(optimisers.OPTIMISERS, "adam", Recording)
    reconstruct(plan(schedules.Phase(2, 3.0), schedules.Phase(4, 8.0, decay=True)))
    cosines = [1, math.sqrt(0.5), 0, -math.sqrt(0.5)]
    expected = [3.0, 3.0] + [8 * (0.01 + 0.99 * (1 + cosine) / 2) for cosine in cosines]
    assert [count for count, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert [rate for _, rate in seen] == pytest.approx(expected)


def test_without_a_prior_an_invertible_layer_is_inverted(invertible, pictures, tmp_path):
    recipe = plan(schedules.Phase(150, 8.0, decay=True), data_weight=1.0)
    result = preimage.reconstruct(
        invertible,
        Matching("conv1", invertible(pictures)["conv1"], "abc"),
        ["a", "b", "c"],
        SIZE,
        MEAN,
        {},
        recipe,
        0,
        Checkpoint(tmp_path / "x", "key"),
    )
    data = [row[2] for row in result.trace if row[1] == "data"]
    assert data[-1] < 1e-4 * data[0]
    assert (result.images - pictures).square().mean().sqrt() < 0.01


def test_mixed_precision_comes_near_float32(reconstruct, bfloat16):
    exact = reconstruct(plan(schedules.Phase(40, 6.0, decay=True)))
    mixed = reconstruct(plan(schedules.Phase(40, 6.0, decay=True), precision="mixed"))
    ends = [dict((row[1], row[2]) for row in r.trace[-2:])["data"] for r in (exact, mixed)]
    assert ends[1] < 2 * ends[0] + 0.05


# ------------------------------------------------------------------------------ plans


def test_plans_take_their_recipe_and_the_depth_of_the_layer():
    recipe = {
        "data_weight": "mahendran2016",
        "optimiser": "adagrad2016",
        "init": "gaussian",
        "bound": 160.0,
        "priors": {"tv": {"weight": 1.0}},
        "phases": [
            {"iterations": 300, "rate": 53.33, "jitter": True},
            {"iterations": 5, "rate": 1},
        ],
    }
    found = Recipe.of(recipe).plan({"stride": 16, "receptive_field": 131})
    assert found.data_weight == 100
    assert found.jitter == 4
    assert (found.optimiser, found.init, found.bound, found.box) == (
        "adagrad2016",
        "gaussian",
        160.0,
        False,
    )
    assert found.phases == (schedules.Phase(300, 53.33, True), schedules.Phase(5, 1))
    deep = Recipe.of(recipe).plan({"stride": 32, "receptive_field": None})
    assert (deep.data_weight, deep.jitter) == (1.0, 8)


def test_plans_without_jitter_need_no_larger_canvas():
    recipe = {"optimiser": "adam", "phases": [{"iterations": 3, "rate": 8.0, "decay": True}]}
    found = Recipe.of(recipe).plan({"stride": 32, "receptive_field": 195})
    assert found == preimage.Plan(1.0, "adam", (schedules.Phase(3, 8.0, False, True),))
    assert found.jitter == 1
