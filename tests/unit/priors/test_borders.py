"""Mirrored frames of maps against a walk that turns round at each edge, and their adjoint."""

import numpy as np
import pytest
import torch

from deep_restoration.priors import borders

# Height, width, patch; with frames larger than the map, on one side alone, and none.
CASES = {
    "odd": (6, 7, (3, 5)),
    "even": (6, 7, (4, 2)),
    "odd and even": (5, 9, (3, 8)),
    "as large as the patch": (3, 3, (3, 3)),
    "one position": (1, 1, (3, 3)),
    "one position, even": (1, 1, (2, 8)),
    "one row": (1, 6, (3, 4)),
    "two by two": (2, 2, (3, 3)),
    "a frame as large as the map": (2, 3, (5, 7)),
    "a frame several times as large": (2, 3, (12, 13)),
    "no frame": (4, 5, (1, 1)),
}
cases = pytest.mark.parametrize("name", CASES)


def maps(height, width, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, height, width, generator=draw, dtype=torch.float64).to(dtype)


def turned(place, size):
    """Where a walk to `place` ends that turns round at the first and at the last of `size` positions."""
    if size == 1:
        return 0
    while not 0 <= place < size:
        place = -place if place < 0 else 2 * (size - 1) - place
    return place


def literal(x, patch):
    """The framed map and, for each of its positions, the one of x that it repeats."""
    height, width = x.shape[2:]
    result = np.zeros((*x.shape[:2], height + patch[0] - 1, width + patch[1] - 1))
    sources = {}
    for i, j in np.ndindex(result.shape[2:]):
        source = (
            turned(i - (patch[0] - 1) // 2, height),
            turned(j - (patch[1] - 1) // 2, width),
        )
        sources[i, j] = source
        result[..., i, j] = x[..., source[0], source[1]]
    return result, sources


@cases
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_frame_mirrors_the_map_at_its_outermost_positions(name, layout):
    height, width, patch = CASES[name]
    x = maps(height, width).contiguous(memory_format=layout)
    found = borders.mirrored(x, patch).numpy()
    assert np.array_equal(found, literal(x.numpy(), patch)[0])
    frame = [((k - 1) // 2, k // 2) for k in patch]
    assert np.array_equal(found, np.pad(x.numpy(), [(0, 0), (0, 0), *frame], mode="reflect"))


def test_a_row_reads_as_the_documentation_has_it():
    row = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    found = borders.mirrored(row, (1, 7)).flatten().tolist()
    assert found == [4, 3, 2, 1, 2, 3, 4, 3, 2, 1]
    found = borders.mirrored(row, (1, 4)).flatten().tolist()  # even: one before, two after
    assert found == [2, 1, 2, 3, 4, 3, 2]


@cases
def test_folding_back_adds_every_position_to_the_one_that_it_repeats(name):
    height, width, patch = CASES[name]
    x = maps(height, width)
    gradient = maps(height + patch[0] - 1, width + patch[1] - 1) - 0.5
    expected = np.zeros(x.shape)
    for (i, j), (row, column) in literal(x.numpy(), patch)[1].items():
        expected[..., row, column] += gradient[..., i, j].numpy()
    inner = (borders.mirrored(x, patch) * gradient).sum((1, 2, 3))
    found = borders.folded_back(gradient.clone(), patch)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(inner, (x * found).sum((1, 2, 3)), rtol=1e-12, atol=1e-13)


@cases
def test_autograd_goes_the_way_back(name):
    height, width, patch = CASES[name]
    x = maps(height, width).requires_grad_()
    framed = borders.mirrored(x, patch)
    gradient = maps(*framed.shape[2:]) - 0.5
    before = gradient.clone()
    (found,) = torch.autograd.grad(framed, x, gradient)
    torch.testing.assert_close(found, borders.folded_back(gradient.clone(), patch))
    assert torch.equal(gradient, before)  # it may be needed elsewhere


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frame_has_the_precision_and_the_layout_of_its_map(dtype):
    x = maps(6, 7, dtype).contiguous(memory_format=torch.channels_last)
    found = borders.mirrored(x, (3, 4))
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    exact = borders.mirrored(x.double(), (3, 4))
    assert torch.equal(found.double(), exact)
