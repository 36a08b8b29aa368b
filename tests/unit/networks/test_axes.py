import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deep_restoration.networks import axes, exported, graph, receptive_fields, trace
from deep_restoration.networks.axes import Tokens, reshaped

SIZE = 32


class Vit(nn.Module):
    """Patches of 8 pixels as tokens, `before` tokens in front of them, one block of attention."""

    def __init__(self, before: int = 1, width: int = 12):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.first = nn.Parameter(torch.randn(1, before, width))
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.head = nn.Linear(width, 5)

    def tokens(self, image):
        x = self.patches(image).flatten(2).transpose(1, 2)
        return torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1)

    def forward(self, image):
        x = self.tokens(image)
        batch, count, width = x.shape
        heads = self.qkv(self.norm(x)).reshape(batch, count, 3, 2, width // 2)
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        x = x + self.out(mixed)
        return self.head(x[:, 0])


class ChannelsLast(nn.Module):
    """A block as in Swin and ConvNeXt: channels last around a linear layer, and back."""

    def __init__(self, sides=(3, 6)):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, 4)
        self.norm, self.wide = nn.LayerNorm(4), nn.Linear(4, sides[1])
        self.back = nn.Conv2d(sides[1], 2, 1)

    def forward(self, image):
        x = self.stem(image).permute(0, 2, 3, 1)
        return self.back(self.wide(self.norm(x)).permute(0, 3, 1, 2))


class Excited(nn.Module):
    """Squeeze-and-excitation: a mean over the map scales its channels."""

    def __init__(self):
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 1)
        self.after = nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, image):
        x = self.conv(image)
        return self.after(x * self.scale(F.adaptive_avg_pool2d(x, 1)).sigmoid())


class Windows(nn.Module):
    """Attention within windows of 2 x 2 positions, in a residual block."""

    def __init__(self):
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, 4, 4, 4), nn.Linear(4, 4)

    def forward(self, image):
        x = self.stem(image).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        cells = x.reshape(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        cells = F.scaled_dot_product_attention(cells, cells, self.mix(cells))
        back = cells.reshape(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5)
        return (x + back.reshape(n, h, w, c)).permute(0, 3, 1, 2)


class Merged(nn.Module):
    """Four neighbours as channels, as in the published code of Swin."""

    def __init__(self):
        super().__init__()
        self.stem, self.less, self.back = nn.Conv2d(3, 4, 4, 4), nn.Linear(16, 8), nn.Linear(8, 8)

    def forward(self, image):
        x = self.stem(image).permute(0, 2, 3, 1)
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.back(self.less(torch.cat(parts, -1)))


class Mixer(nn.Module):
    """Linear layers over positions, then over channels (MLP-Mixer)."""

    def __init__(self):
        super().__init__()
        self.patches, self.across = nn.Conv2d(3, 6, 8, 8), nn.Linear(16, 16)
        self.within = nn.Linear(6, 6)

    def forward(self, image):
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = x + self.across(x.transpose(1, 2)).transpose(1, 2)
        return x + self.within(x)


def steps_of(model, size=SIZE, tracer="fx"):
    torch.manual_seed(0)
    model.eval().requires_grad_(False)
    steps = trace.trace(model) if tracer == "fx" else exported.trace(model, size)
    return receptive_fields.with_axes(steps, size)


def network(model, steps, layers):
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return graph.Network(steps, layers).load(copy.deepcopy(state))


def image(count=2):
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("tracer", ["fx", "export"])
@pytest.mark.parametrize("before", [1, 3])
def test_tokens_are_maps_of_their_positions_and_those_before_them_a_vector(tracer, before):
    model = Vit(before)
    steps = steps_of(model, tracer=tracer)
    (name,) = [step["name"] for step in steps if axes.operation(step) in ("cat", "concat")]
    layers, _ = receptive_fields.of_layers(steps, SIZE)
    assert layers[name]["shape"] == [12, 4, 4]
    assert layers[f"{name}.class"]["shape"] == [12 * before]
    found = network(model, steps, [name, f"{name}.class"])(image())
    raw = model.tokens(image())
    assert torch.equal(found[f"{name}.class"].reshape(2, 12, before).mT, raw[:, :before])
    for row in range(4):
        for column in range(4):
            token = raw[:, before + 4 * row + column]
            assert torch.equal(found[name][:, :, row, column], token)


@pytest.mark.parametrize("tracer", ["fx", "export"])
def test_what_attention_gives_is_known_from_the_sum_that_follows(tracer):
    steps = steps_of(Vit(), tracer=tracer)
    layers, _ = receptive_fields.of_layers(steps, SIZE)
    for name in ("norm", "qkv", "out"):
        assert layers[name]["maps"]
        assert layers[name]["shape"][1:] == [4, 4]
    heads = [
        n for n, facts in layers.items() if facts["operation"] == "scaled_dot_product_attention"
    ]
    assert [layers[name]["maps"] for name in heads] == [False]  # axes of heads


@pytest.mark.parametrize("tracer", ["fx", "export"])
def test_maps_with_channels_last_are_turned(tracer):
    model = ChannelsLast()
    steps = steps_of(model, tracer=tracer)
    layers, _ = receptive_fields.of_layers(steps, SIZE)
    assert layers["norm"]["shape"] == [4, 8, 8]
    assert layers["wide"]["shape"] == [6, 8, 8]
    found = network(model, steps, ["wide"])(image())["wide"]
    expected = model.wide(model.norm(model.stem(image()).movedim(1, -1)))
    assert torch.equal(found, expected.movedim(-1, 1))


def test_as_many_channels_as_rows_mislead_nobody():
    steps = steps_of(ChannelsLast((3, 8)))  # 8 x 8 positions of 8 channels
    layers, _ = receptive_fields.of_layers(steps, SIZE)
    (wide,) = [step for step in steps if step["name"] == "wide"]
    assert wide["axes"] == {"order": [0, 3, 1, 2]}
    assert layers["wide"]["shape"] == [8, 8, 8]


def test_windows_are_refused_and_what_they_are_added_to_is_not():
    steps = steps_of(Windows())
    layers, _ = receptive_fields.of_layers(steps, SIZE)
    refused = {facts["operation"] for facts in layers.values() if not facts["maps"]}
    assert "scaled_dot_product_attention" in refused
    (total,) = [name for name, facts in layers.items() if facts["operation"] == "add"]
    assert layers[total]["maps"]
    assert layers[total]["shape"] == [4, 8, 8]
    # the two linear maps of windows are none, though a vector per window has two axes more
    assert not layers["mix"]["maps"]


def test_receptive_fields_of_windows_are_measured():
    model = Windows()
    steps = steps_of(model)
    layers, _ = receptive_fields.of_layers(steps, SIZE, lambda names: network(model, steps, names))
    (total,) = [name for name, facts in layers.items() if facts["operation"] == "add"]
    assert layers["stem"]["receptive_field"] == 4
    assert layers[total]["receptive_field"] == 8  # two positions of four pixels
    assert layers[total]["stride"] == 4
    without, _ = receptive_fields.of_layers(steps, SIZE)
    assert without[total]["receptive_field"] is None


def test_attention_sees_the_whole_image():
    model = Vit()
    steps = steps_of(model)
    layers, _ = receptive_fields.of_layers(steps, SIZE, lambda names: network(model, steps, names))
    assert layers["norm"]["receptive_field"] == 8
    assert layers["norm"]["stride"] == 8
    assert layers["out"]["receptive_field"] is None


def test_a_linear_layer_over_positions_sees_the_whole_image():
    model = Mixer()
    steps = steps_of(model)
    layers, _ = receptive_fields.of_layers(steps, SIZE, lambda names: network(model, steps, names))
    first, last = (name for name, facts in layers.items() if facts["operation"] == "add")
    assert layers["patches"]["receptive_field"] == 8
    assert layers["within"]["shape"] == layers[first]["shape"] == [6, 4, 4]
    assert layers[first]["receptive_field"] is layers[last]["receptive_field"] is None


@pytest.mark.parametrize("tracer", ["fx", "export"])
def test_neighbours_become_channels_by_slices(tracer):
    layers, _ = receptive_fields.of_layers(steps_of(Merged(), tracer=tracer), SIZE)
    assert layers["stem"] | {"stride": 4, "receptive_field": 4} == layers["stem"]
    expected = {"shape": [8, 4, 4], "maps": True, "stride": 8, "receptive_field": 8}
    assert layers["back"] | expected == layers["back"]


def test_a_mean_that_scales_channels_leaves_the_window_and_is_said():
    layers, _ = receptive_fields.of_layers(steps_of(Excited()), SIZE)
    assert layers["conv"] | {"receptive_field": 3, "global": False} == layers["conv"]
    assert layers["after"] | {"receptive_field": 7, "global": True} == layers["after"]


def test_channels_that_grow_with_the_image_are_none():
    class Odd(nn.Module):
        def forward(self, image):
            return (image.permute(0, 2, 1, 3) * 1).relu()  # rows where channels belong

    steps = steps_of(Odd())
    assert steps[-1]["axes"] == {"order": [0, 2, 1, 3]}
    steps = [{**step, "axes": None} if step["name"] == "relu" else step for step in steps]
    layers, _ = receptive_fields.of_layers(steps, SIZE)
    assert not layers["relu"]["maps"]


@pytest.mark.parametrize(
    ("before", "names", "after", "expected"),
    [
        ((2, 5, 4, 6), ("n", "c", "h", "w"), (2, 5, 24), ("n", "c", Tokens(4, 6))),
        ((2, 5, 24), ("n", "c", Tokens(4, 6)), (2, 5, 4, 6), ("n", "c", "h", "w")),
        ((2, 5, 24), ("n", "c", Tokens(4, 6)), (2, 5, 6, 4), ("n", "c", None, None)),
        ((2, 24, 10), ("n", Tokens(4, 6), "c"), (2, 24, 5, 2), ("n", Tokens(4, 6), None, None)),
        ((2, 8, 8, 3), ("n", "h", "w", "c"), (2, 4, 2, 8, 3), ("n", "h", None, "w", "c")),
        ((2, 4, 4, 2, 2, 3), ("n", "h", "w", None, None, "c"), (2, 4, 4, 12), ("n", "h", "w", "c")),
        ((2, 8, 6), ("n", "h", "c"), (2, 8, 2, 3), ("n", "h", None, None)),
        ((2, 5, 1, 1), ("n", "c", "h", "w"), (2, 5), ("n", "c")),
        ((2, 5), ("n", "c"), (2, 1, 5), ("n", None, "c")),
    ],
)
def test_reshaping(before, names, after, expected):
    assert reshaped(before, names, after) == expected
