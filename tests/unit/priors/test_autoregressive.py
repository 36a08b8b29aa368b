"""The autoregressive prior against loops over pixels, and what it puts beyond an edge."""

import numpy as np
import pytest
import torch

from deep_restoration.priors import autoregressive
from deep_restoration.priors.autoregressive import Autoregressive, Network
from deep_restoration.priors.registry import load
from deep_restoration.runtime.checkpoints import Checkpoint

CONTEXT = 3


pytestmark = pytest.mark.usefixtures("one_thread")


def network(channels=3, seed=0, context=CONTEXT):
    """With random weights, in double precision."""
    torch.manual_seed(seed)
    made = Network(channels, 5, 1, context).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    return made


def extrapolating(context=2):
    """Of one channel: the last row plus its difference from the one before."""
    made = Network(1, 2, 0, context).double()
    for parameter in made.parameters():
        torch.nn.init.zeros_(parameter)
    middle = context - 1
    for unit, sign in enumerate((1.0, -1.0)):  # x = relu(x) - relu(-x)
        made.enter.weight.data[unit, 0, context - 2, middle] = sign
        made.leave.weight.data[0, unit] = -sign
    return made


def images(count=2, channels=3, height=7, width=6, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, height, width, generator=draw, dtype=torch.float64)


def expect(net, x, row, column):
    """What follows above (row, column) of one image C x H x W, by loops: the literal network."""
    x, context = x.numpy(), net.context
    first, bias = net.enter.weight.detach().numpy(), net.enter.bias.detach().numpy()
    last = x[:, row - 1, column]
    hidden = bias.copy()
    for down in range(context):
        for across in range(2 * context - 1):
            place = min(max(column + across - context + 1, 0), x.shape[2] - 1)
            seen = x[:, row - context + down, place] - last
            hidden += first[:, :, down, across] @ seen
    for block in net.blocks:
        weight = block.weight.detach().numpy()[:, :, 0, 0]
        hidden = weight @ np.maximum(hidden, 0) + block.bias.detach().numpy()
    weight = net.leave.weight.detach().numpy()[:, :, 0, 0]
    return last + weight @ np.maximum(hidden, 0) + net.leave.bias.detach().numpy()


def test_the_network_is_the_literal_one():
    net, x = network(), images()
    found = net(x).detach().numpy()
    assert found.shape == (2, 3, 5, 6)
    for number in range(2):
        for row in range(CONTEXT, 8):
            for column in range(6):
                expected = expect(net, x[number], row, column)
                np.testing.assert_allclose(found[number, :, row - CONTEXT, column], expected)


def test_a_constant_is_passed_on():
    net, x = network(), images()
    torch.testing.assert_close(net(x + 0.25), net(x) + 0.25)


def test_before_training_rows_are_repeated():
    torch.manual_seed(0)
    x = images()
    assert torch.equal(Network(3, 5, 2, CONTEXT).double()(x), x[:, :, 2:])


def test_the_energy_is_that_of_a_loop_over_directions_and_pixels():
    prior, x = Autoregressive(network(), 0.5), images()
    for image, found in zip(x, prior.energy(x), strict=True):
        total = count = 0
        for turns in range(4):
            turned = torch.from_numpy(np.rot90(image.numpy(), turns, (1, 2)).copy())
            for row in range(CONTEXT, turned.shape[1]):
                for column in range(turned.shape[2]):
                    mean = 0.5 * expect(prior.network, turned / 0.5, row, column)
                    total += ((turned[:, row, column].numpy() - mean) ** 2).sum() / (2 * 0.5**2)
                    count += 3
        assert found.item() == pytest.approx(total)
        assert prior.positions(image[None]) == count


def test_the_gradient_equals_finite_differences():
    prior, x = Autoregressive(network(), 0.5), images(1)
    assert torch.autograd.gradcheck(prior.energy, x.requires_grad_())
    (expected,) = torch.autograd.grad(prior.energy(x).sum(), x)
    with torch.no_grad():
        torch.testing.assert_close(prior.gradient(x), expected)


def test_energies_of_a_batch_are_those_of_its_images():
    prior, x = Autoregressive(network(), 0.5), images(3)
    alone = torch.cat([prior.energy(x[row : row + 1]) for row in range(3)])
    torch.testing.assert_close(prior.energy(x), alone)


# ------------------------------------------------------------------------------ completion


def ramp(height, width, down=0.03, across=0.02):
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64),
        torch.arange(width, dtype=torch.float64),
        indexing="ij",
    )
    return (0.1 + down * rows + across * columns)[None, None]


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        *(((0, 8), (0, 9)), ((0, 7), (0, 9)), ((0, 8), (0, 6)), ((2, 8), (0, 9)), ((0, 8), (1, 9))),
        *(((1, 6), (2, 7)), ((0, 1), (0, 9))),
    ],
)
def test_a_ramp_goes_on_in_every_direction(rows, columns):
    prior = Autoregressive(extrapolating(), 0.5)
    whole = ramp(8, 9)
    seen = slice(*rows), slice(*columns)
    spoilt = torch.full_like(whole, 9.0)
    spoilt[:, :, *seen] = whole[:, :, *seen]
    found = prior.complete(spoilt, seen)
    if rows == (0, 1):  # one row has no difference to go on with: it is repeated
        torch.testing.assert_close(found, whole[:, :, :1].expand(-1, -1, 8, -1))
    else:
        torch.testing.assert_close(found, whole)


def test_what_is_seen_stays_and_the_row_beyond_is_the_one_expected():
    prior, x = Autoregressive(network(), 0.5), images()
    found = prior.complete(x, (slice(0, 6), slice(0, 6)))
    assert torch.equal(found[:, :, :6], x[:, :, :6])
    expected = prior.expected(x[:, :, 3:6])
    torch.testing.assert_close(found[:, :, 6:], expected)


# ------------------------------------------------------------------------------ files


def test_a_stored_prior_is_the_same(tmp_path):
    facts = {"width": 5, "blocks": 1, "context": CONTEXT}
    prior = Autoregressive(network().float(), 0.5, mean=2.0, spread=3.0, facts=facts)
    prior.save(tmp_path / "edge.safetensors", {"why": "test"})
    again, x = load(tmp_path / "edge.safetensors"), images().float()
    assert torch.equal(again.energy(x), prior.energy(x))
    assert (again.mean, again.spread, again.channels, again.kind) == (2, 3, 3, "autoregressive")
    with pytest.raises(ValueError, match="no option sigma; allowed: none"):
        load(tmp_path / "edge.safetensors", sigma=[1, 2])


# ------------------------------------------------------------------------------ training


def gradients(count, seed, size=16):
    """Images that are ramps of random slopes and colours: what follows is the last plus a difference."""
    draw = np.random.default_rng(seed)
    down, across = draw.uniform(-5, 5, (2, count, 3, 1, 1))
    rows, columns = np.mgrid[:size, :size]
    made = 128 + down * (rows - size / 2) + across * (columns - size / 2)
    return np.rint(made).clip(0, 255).astype(np.uint8)


@pytest.fixture
def train(tmp_path):
    def run(seed=0, maps=None, **changes):
        values = {"width": 16, "blocks": 1, "context": 3, "steps": 300, "batch": 8, "rate": 1e-2}
        plan = autoregressive.Settings(**values | {"crop": 12, "precision": "float32"} | changes)
        checkpoint = Checkpoint(tmp_path / "prior", "key", 1e9)
        maps = gradients(40, 0) if maps is None else maps
        return autoregressive.train(maps, gradients(20, 1), plan, seed, checkpoint)

    return run


@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_training_learns_how_ramps_go_on(precision, train, bfloat16):
    prior, _ = train(precision=precision)
    x = torch.from_numpy(gradients(10, 2)).float() / 255
    seen = slice(0, 15), slice(0, 14)
    repeated = x.clone()
    repeated[:, :, 15], repeated[..., 14:] = x[:, :, 14], x[..., 13:14]
    error, before = (
        (found - x).square().mean().sqrt().item() for found in (prior.complete(x, seen), repeated)
    )
    assert error < 0.2 * before
    assert prior.scale == pytest.approx(np.std(gradients(40, 0) / 255), rel=1e-5)


def test_the_objective_is_the_squared_error_of_held_out_crops(train):
    """Before training (at no rate), that of repeating the row before."""
    prior, history = train(steps=1, rate=1e-12, crop=16)
    x = torch.from_numpy(gradients(20, 1)).double() / 255
    down, across = (x.diff(dim=d).square().mean((1, 2, 3)) for d in (2, 3))
    # Crops are whole images, half of them turned aside: between the two.
    low, high = (
        bound.mean().item() / prior.scale**2
        for bound in (torch.minimum(down, across), torch.maximum(down, across))
    )
    assert low < history[0][2] < high


def test_images_no_larger_than_the_context_are_refused(train):
    with pytest.raises(ValueError, match="images of 12 pixels have no row behind a context of 12"):
        train(context=12)


def test_another_seed_gives_another_prior(train):
    x = torch.from_numpy(gradients(2, 3)).float() / 255
    first, same, other = (train(seed, steps=3)[0].energy(x) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
