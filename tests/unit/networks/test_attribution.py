"""Backward rules on small networks, each against a transcription by hand; patterns of planted signals."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deep_restoration.networks import attribution, graph, trace
from deep_restoration.study import visualisations

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


class Written(nn.Module):
    """The same network with every ReLU written in another way."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.conv1 = nn.Conv2d(3, 6, 3, stride=1, padding=1)
        self.norm1 = nn.LocalResponseNorm(3, alpha=2.0)
        self.pool1 = nn.MaxPool2d(3, 2)
        self.conv2 = nn.Conv2d(6, 4, 3, groups=2)
        self.relu = nn.ReLU(inplace=how == "in place")

    def rectified(self, x):
        ways = {
            "module": lambda: self.relu(x),
            "in place": lambda: self.relu(x),
            "function": lambda: F.relu(x),
            "function in place": lambda: F.relu(x, inplace=True),
            "positional": lambda: F.relu(x, True),
            "torch": lambda: torch.relu(x),
            "torch in place": lambda: torch.relu_(x),
            "method": lambda: x.relu(),
            "method in place": lambda: x.relu_(),
        }
        return ways[self.how]()

    def forward(self, x):
        x = self.pool1(self.norm1(self.rectified(self.conv1(x))))
        return self.rectified(self.conv2(x))


WAYS = (
    *("module", "in place", "function", "function in place", "positional", "torch"),
    *("torch in place", "method", "method in place"),
)
SEEN = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
UNITS = [(2, 2, 0), (0, 1, 1)]


def network_of(model, layers, mean=MEAN, std=STD):
    return graph.Network(trace.trace(model), layers, mean, std).load(model.state_dict())


def written(how="module"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Written(how)
    last = trace.trace(model)[-1]["name"]
    return model, network_of(model, [last]), last


def by_hand(model, method):
    """The four backward passes written out, step by step."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    x = (SEEN - mean) / std
    a1 = F.conv2d(x, model.conv1.weight, model.conv1.bias, padding=1)
    r1 = a1.clamp(min=0)
    n1 = F.local_response_norm(r1, 3, alpha=2.0)
    p1, switches = F.max_pool2d(n1, 3, 2, return_indices=True)
    a2 = F.conv2d(p1, model.conv2.weight, model.conv2.bias, groups=2)
    signal = torch.zeros_like(a2)
    for index, unit in enumerate(UNITS):
        signal[(index, *unit)] = 1

    def rectify(signal, before):
        if method == "gradient":
            return signal * (before > 0)
        if method == "deconvnet":
            return signal.clamp(min=0)
        return signal.clamp(min=0) * (before > 0)

    signal = rectify(signal, a2)
    signal = F.conv_transpose2d(signal, model.conv2.weight, groups=2)
    unpooled = torch.zeros_like(n1).flatten(2)
    unpooled.scatter_add_(2, switches.flatten(2), signal.flatten(2))  # windows overlap
    signal = unpooled.view_as(n1)
    if method != "deconvnet":
        inside = r1.detach().requires_grad_(True)
        value = F.local_response_norm(inside, 3, alpha=2.0)
        (signal,) = torch.autograd.grad(value, inside, signal)
    signal = rectify(signal, a1)
    signal = F.conv_transpose2d(signal, model.conv1.weight, padding=1)
    return signal * std if method == "deconvnet" else signal / std


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("method", ["gradient", "deconvnet", "guided_backpropagation"])
def test_a_method_is_what_is_written_out_by_hand(how, method):
    model, network, last = written(how)
    found = attribution.project(network, last, SEEN, UNITS, method)
    expected = by_hand(model, method).detach()
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6 * expected.abs().max().item())
    assert found.abs().max() > 0


def test_the_methods_differ():
    _, network, last = written()
    found = [
        attribution.project(network, last, SEEN, UNITS, method)
        for method in ("gradient", "deconvnet", "guided_backpropagation")
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(found[one], found[other], rtol=1e-2)


def test_the_gradient_is_that_of_autograd():
    _, network, last = written()
    images = SEEN.clone().requires_grad_(True)
    maps = network(images)[last]
    chosen = torch.stack([maps[(index, *unit)] for index, unit in enumerate(UNITS)])
    (expected,) = torch.autograd.grad(chosen.sum(), images)
    found = attribution.project(network, last, SEEN, UNITS, "gradient")
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_a_batch_gives_what_each_image_gives_alone():
    _, network, last = written()
    for method in ("gradient", "deconvnet", "guided_backpropagation"):
        together = attribution.project(network, last, SEEN, UNITS, method)
        for index in range(2):
            alone = attribution.project(
                network, last, SEEN[index : index + 1], UNITS[index : index + 1], method
            )
            assert torch.allclose(together[index], alone[0], rtol=1e-4, atol=1e-6)


def test_the_maps_stay_what_they_were():
    _, network, last = written()
    plain = network(SEEN)[last]
    patterns = attribution.fit_patterns(network, [SEEN])
    for method in visualisations.ATTRIBUTIONS:
        call = attribution.rules(network, method, patterns)
        assert torch.allclose(network(SEEN, call)[last], plain, rtol=1e-5, atol=1e-6)


def test_relu6_is_capped_in_the_forward_mask_alone():
    network = graph.Network(trace.trace(nn.Sequential(OrderedDict(relu=nn.ReLU6()))), ["relu"])
    images = torch.tensor([-1.0, 3.0, 7.0]).view(1, 3, 1, 1)
    slopes = {"gradient": [0, 1, 0], "guided_backpropagation": [0, 1, 0], "deconvnet": [1, 1, 1]}
    for method, expected in slopes.items():
        found = [
            attribution.project(network, "relu", images, [(channel, 0, 0)], method)[
                0, channel
            ].item()
            for channel in range(3)
        ]
        assert found == expected, method


# ------------------------------------------------------------------------------ patterns


def planted(count=4000, active=False):
    """x = signal a s + distractor d e, with w chosen so that w sees the signal alone (w^T d = 0)."""
    draw = torch.Generator().manual_seed(2)
    a, d = (torch.randn(12, generator=draw, dtype=torch.float64) for _ in range(2))
    d = d + a  # the more the distractor is like the signal, the less w is
    w = a - d * (a @ d) / (d @ d)
    w = w / (w @ a)  # y = w^T x is the signal's strength
    s = torch.randn(count, generator=draw, dtype=torch.float64)
    e = 3 * torch.randn(count, generator=draw, dtype=torch.float64)
    x = s[:, None] * a + e[:, None] * d
    return a, w, x


@pytest.mark.parametrize("rectified", [False, True])
def test_a_planted_signal_is_recovered_where_the_weights_point_elsewhere(rectified):
    a, w, x = planted()
    layers = [("conv", nn.Conv2d(3, 1, 2))]
    if rectified:
        layers.append(("relu", nn.ReLU()))
    model = nn.Sequential(OrderedDict(layers))
    with torch.no_grad():
        model.conv.weight.copy_(w.view(1, 3, 2, 2))
        model.conv.bias.fill_(0.1)
    network = network_of(model, [layers[-1][0]], (0, 0, 0), (1, 1, 1))
    images = x.view(-1, 3, 2, 2).float()
    (pattern,) = attribution.fit_patterns(network, images.split(500)).values()
    pattern = pattern.flatten().double()

    def angle(one, other):
        return (torch.dot(one, other) / (one.norm() * other.norm())).item()

    assert angle(pattern, a) > 0.99
    assert angle(w, a) < 0.9
    assert (w @ pattern).item() == pytest.approx(1, abs=1e-5)
    # The literal formula, over samples.
    y = x @ w
    mask = (y + 0.1 > 0) if rectified else torch.ones_like(y, dtype=torch.bool)
    covariance = (x * y[:, None])[mask].mean(0) - x[mask].mean(0) * y.mean()
    assert torch.allclose(pattern, covariance / (w @ covariance), rtol=1e-3, atol=1e-4)
    # What PatternNet shows of a unit is its signal.
    image = images[int(y.argmax())][None]
    shown = attribution.project(
        network,
        layers[-1][0],
        image,
        [(0, 0, 0)],
        "patternnet",
        {"conv": pattern.view(1, 3, 2, 2).float()},
    )
    assert torch.allclose(shown.flatten().double(), pattern, rtol=1e-5, atol=1e-6)


def literal_patterns(x, weight, bias, rectified, **geometry):
    """Patch by patch in float64, over all positions and images."""
    groups = geometry.get("groups", 1)
    outputs, share = len(weight), x.shape[1] // groups
    result = torch.zeros_like(weight, dtype=torch.float64)
    options = {key: geometry[key] for key in ("stride", "padding", "dilation") if key in geometry}
    size = weight.shape[2:]
    for channel in range(outputs):
        group = channel // (outputs // groups)
        part = x[:, group * share : (group + 1) * share].double()
        patches = F.unfold(part, size, **options).transpose(1, 2).reshape(-1, share * size.numel())
        w = weight[channel].double().flatten()
        y = patches @ w
        mask = y + bias[channel].double() > 0 if rectified else torch.ones_like(y) > 0
        covariance = (patches * y[:, None])[mask].mean(0) - patches[mask].mean(0) * y.mean()
        scale = w @ covariance
        result[channel] = (covariance / scale).view_as(result[channel])
    return result


def test_patterns_are_those_of_the_formula_for_any_geometry():
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = nn.Sequential(
            OrderedDict(
                first=nn.Conv2d(3, 6, 3, stride=2, padding=1, dilation=2),
                relu=nn.ReLU(),
                second=nn.Conv2d(6, 4, 3, groups=2, padding=1),
            )
        )
    network = network_of(model, ["second"], (0, 0, 0), (1, 1, 1))
    x = torch.randn(8, 3, 15, 15, generator=torch.Generator().manual_seed(5))
    found = attribution.fit_patterns(network, x.split(3))
    first, second = model.first, model.second
    expected = literal_patterns(x, first.weight, first.bias, True, stride=2, padding=1, dilation=2)
    assert torch.allclose(found["first"].double(), expected, rtol=1e-3, atol=1e-4)
    inside = model.relu(first(x)).detach()
    expected = literal_patterns(inside, second.weight, second.bias, False, padding=1, groups=2)
    assert torch.allclose(found["second"].double(), expected, rtol=1e-3, atol=1e-4)
    for path, pattern in found.items():
        weight = model.get_submodule(path).weight
        assert torch.allclose(
            (weight * pattern).flatten(1).sum(1), torch.ones(len(weight)), atol=1e-4
        )


def test_fully_connected_layers_have_patterns_too():
    with torch.random.fork_rng():
        torch.manual_seed(6)
        model = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(), first=nn.Linear(12, 5), relu=nn.ReLU(), last=nn.Linear(5, 3)
            )
        )
    network = network_of(model, ["last"], (0, 0, 0), (1, 1, 1))
    x = torch.randn(400, 3, 2, 2, generator=torch.Generator().manual_seed(7))
    found = attribution.fit_patterns(network, x.split(150))
    w, b = model.first.weight.double(), model.first.bias.double()
    flat = x.flatten(1).double()
    for unit in range(5):
        y = flat @ w[unit]
        mask = y + b[unit] > 0
        covariance = (flat * y[:, None])[mask].mean(0) - flat[mask].mean(0) * y.mean()
        expected = covariance / (w[unit] @ covariance)
        assert torch.allclose(found["first"][unit].double(), expected, rtol=1e-3, atol=1e-4)
    images = x[:2]
    shown = attribution.project(network, "last", images, [(0,), (2,)], "patternnet", found)
    hidden = model.relu(model.first(images.flatten(1))) > 0
    for index, unit in enumerate((0, 2)):
        signal = (found["last"][unit] * hidden[index]) @ found["first"]
        assert torch.allclose(shown[index].flatten(), signal, rtol=1e-4, atol=1e-6)


def test_batch_normalisation_counts_as_a_neuron_and_its_relu_as_that_of_the_convolution():
    with torch.random.fork_rng():
        torch.manual_seed(8)
        model = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(3, 4, 2, bias=False), bn=nn.BatchNorm2d(4), relu=nn.ReLU())
        )
        model.bn.running_mean.normal_()
        model.bn.running_var.uniform_(0.5, 2)
        model.bn.weight.data.uniform_(0.5, 2)
    x = torch.randn(20, 3, 6, 6, generator=torch.Generator().manual_seed(9))
    network = network_of(model, ["relu"], (0, 0, 0), (1, 1, 1))
    found = attribution.fit_patterns(network, [x])
    slope = model.bn.weight / (model.bn.running_var + model.bn.eps).sqrt()
    shift = -model.bn.running_mean  # the sign of the normalised value, as slopes are positive
    expected = literal_patterns(
        x, model.conv.weight, (shift + model.bn.bias / slope).detach(), True
    )
    assert torch.allclose(found["conv"].double(), expected, rtol=1e-3, atol=1e-4)
    maps = network(x)["relu"]
    place = tuple(divmod(int(maps[0, 1].argmax()), 5))
    shown = attribution.project(network, "relu", x[:1], [(1, *place)], "patternnet", found)
    top, left = place
    patch = shown[0, :, top : top + 2, left : left + 2]
    assert torch.allclose(patch, found["conv"][1] / slope[1], rtol=1e-4, atol=1e-6)


def test_a_unit_that_never_is_active_has_no_pattern():
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 2, 2), relu=nn.ReLU()))
    with torch.no_grad():
        model.conv.bias.copy_(torch.tensor([-100.0, 100.0]))
    network = network_of(model, ["relu"], (0, 0, 0), (1, 1, 1))
    found = attribution.fit_patterns(network, [torch.rand(3, 3, 5, 5)])["conv"]
    assert (found[0] == 0).all()
    assert torch.isfinite(found).all()
    assert (found[1] != 0).any()


# ------------------------------------------------------------------------------ what cannot be done


def test_what_has_no_rule_is_refused():
    network = graph.Network(trace.trace(nn.Sequential(OrderedDict(gelu=nn.GELU()))), ["gelu"])
    attribution.check(network, ["gradient"])
    for method in ("deconvnet", "guided_backpropagation", "patternnet"):
        with pytest.raises(ValueError, match=rf"{method}: there is no rule for GELU \(gelu\)"):
            attribution.check(network, [method])
    with pytest.raises(ValueError, match="method is 'saliency'; allowed: gradient, deconvnet"):
        attribution.check(network, ["saliency"])


def test_patternnet_without_weights_or_patterns_is_refused():
    relu = graph.Network(trace.trace(nn.Sequential(OrderedDict(relu=nn.ReLU()))), ["relu"])
    attribution.check(relu, ["deconvnet"])
    with pytest.raises(ValueError, match="neither a convolution nor a fully connected layer"):
        attribution.fit_patterns(relu, [SEEN])
    _, network, last = written()
    with pytest.raises(ValueError, match="patternnet needs patterns"):
        attribution.project(network, last, SEEN, UNITS, "patternnet")
    with pytest.raises(ValueError, match="patternnet needs training images"):
        attribution.fit_patterns(network, [])

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(2, 3, 3, 3))

        def forward(self, x):
            return F.conv2d(x, self.weight)

    model = Functional()
    steps = trace.trace(model)
    network = graph.Network(steps, [steps[-1]["name"]]).load(model.state_dict())
    with pytest.raises(ValueError, match="conv2d has no module whose weights it may learn"):
        attribution.check(network, ["patternnet"])
    mirrored = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"))
    )
    with pytest.raises(ValueError, match="conv pads with reflect"):
        attribution.check(network_of(mirrored, ["conv"]), ["patternnet"])


# ------------------------------------------------------------------------------ units


def test_the_strongest_units_are_those_closest_to_the_largest_activation():
    values = torch.zeros(4, 3, 5)
    values[0, 1, 2] = 9.0  # of 100
    values[1, 2, 4] = 5.0  # of 4
    values[2, 0, 3] = 2.0  # of 3
    values[3, 1, 1] = 8.0  # never active on training images
    largest = torch.tensor([100.0, 4.0, 3.0, 0.0])
    assert attribution.strongest(values, largest, 2) == [(1, 2, 4), (2, 0, 3)]
    assert attribution.strongest(torch.tensor([1.0, 3.0]), torch.ones(2), 5) == [(1,), (0,)]


def test_the_extent_is_the_frame_of_what_is_not_zero():
    signal = torch.zeros(3, 8, 9)
    signal[1, 2, 3], signal[0, 5, 7] = 1, -1
    assert attribution.extent(signal) == (2, 3, 6, 8)
    assert attribution.extent(torch.zeros(3, 8, 9)) == (0, 0, 8, 9)
