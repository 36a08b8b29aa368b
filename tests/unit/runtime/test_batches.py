"""Batches that do not fit into memory are halved: told by real refusals of the allocator."""

import re

import pytest
import torch

from deep_restoration.inversion import data_terms, preimage
from deep_restoration.inversion.schedules import Phase
from deep_restoration.runtime import batches
from deep_restoration.runtime.checkpoints import Checkpoint


class Limited(torch.nn.Module):
    """A network that cannot have the memory for more than so many images: the allocator really refuses."""

    def __init__(self, network, most):
        super().__init__()
        self.network, self.most = network, most

    def forward(self, images):
        if len(images) > self.most:
            torch.empty(1 << 50)  # more than any machine has
        return self.network(images)


def reconstructed(network, most, folder):
    """Seven images reconstructed at once, or in as many as fit; the result, and the files left behind."""
    truth = torch.rand(7, 3, 21, 21, generator=torch.Generator().manual_seed(0))
    names, mean = [str(index) for index in range(7)], torch.full((1, 3, 1, 1), 0.5)
    term = data_terms.Matching("conv2", network(truth)["conv2"].detach(), names)
    phases = [Phase(6, 8.0, jitter=True), Phase(3, 2.0)]
    plan = preimage.Plan(1.0, "adam", phases, jitter=2)
    checkpoint = Checkpoint(folder / "x", None, 0)  # saved after every iteration
    limited = Limited(network, most)
    found = preimage.reconstruct(
        limited, term, names, 21, mean, {}, plan, 0, checkpoint, truth=truth
    )
    checkpoint.remove()
    return found, list(folder.iterdir())


@pytest.mark.parametrize(("most", "sizes"), [(4, [4]), (3, [4, 2]), (1, [4, 2, 1])])
def test_images_reconstructed_in_halves_are_those_reconstructed_at_once(
    network, tmp_path, caplog, most, sizes
):
    whole, _ = reconstructed(network, 7, tmp_path)
    assert not caplog.records
    halves, left = reconstructed(network, most, tmp_path)
    assert [int(n) for n in re.findall(r"going on with (\d+)", caplog.text)] == sizes
    assert not left
    # Not bit for bit: oneDNN chooses its algorithm by the size of the batch.
    assert torch.allclose(whole.images, halves.images, atol=1e-4)
    assert whole.images.std() > 0.1
    assert [row[:2] for row in whole.trace] == [row[:2] for row in halves.trace]
    values = [[row[2] for row in found.trace] for found in (whole, halves)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_a_single_image_too_large_says_what_to_change(network, tmp_path):
    with pytest.raises(
        batches.TooLargeError, match=r"not enough memory for a single image.*images\.size"
    ):
        reconstructed(network, 0, tmp_path)


def test_parts_behind_a_halved_one_are_as_small():
    tried = []

    def compute(part):
        tried.append((part.start, part.stop))
        if part.stop - part.start > 3:
            torch.empty(1 << 50)  # more than any machine has
        return part.start

    found = list(batches.Batches(10, "x")(compute, 12))
    assert tried == [(0, 10), (0, 5), (0, 3), (3, 6), (6, 9), (9, 12)]
    assert [part.start for part, _ in found] == [result for _, result in found] == [0, 3, 6, 9]


def test_no_images_are_no_parts():
    assert list(batches.Batches(4, "x")(lambda part: part, 0)) == []


def test_any_other_error_is_left_alone():
    with pytest.raises(RuntimeError, match="must match"):
        list(batches.Batches(4, "x")(lambda part: torch.ones(2) + torch.ones(3), 4))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("expected scalar type Float"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_errors_of_memory_are_known(error, expected):
    assert batches.is_out_of_memory(error) is expected


class Greedy(torch.autograd.Function):
    """The identity, whose gradient needs more memory than there is for more than three images."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        if len(gradient) > 3:
            torch.empty(1 << 50)
        return gradient


def test_gradients_of_halves_are_those_of_the_whole():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 2))
    x, y = torch.randn(10, 5), torch.randn(10, 2)
    parameters = list(network.parameters())

    def losses(part, between=lambda values: values):
        # The last layer's gradient is known before the memory is not enough for the first's.
        error = (network[2](between(network[:2](x[part]))) - y[part]).square()
        return error.mean(), error.max().detach()

    losses(slice(0, 10))[0].backward()
    expected = [parameter.grad.clone() for parameter in parameters]
    at_once = batches.Batches(10, "x")
    loss, _ = at_once.backward(losses, 10, parameters)
    assert all(map(torch.equal, expected, (parameter.grad for parameter in parameters)))
    halving = batches.Batches(10, "x")
    for _ in range(2):  # the second time, there is nothing left of the first
        found, _ = halving.backward(lambda part: losses(part, Greedy.apply), 10, parameters)
        assert halving.size == 3
        assert found.item() == pytest.approx(loss.item(), rel=1e-6)
        for gradient, parameter in zip(expected, parameters, strict=True):
            assert torch.allclose(parameter.grad, gradient, rtol=1e-5, atol=1e-7)


def result(count, *rows, seconds):
    return preimage.Result(torch.full((count, 3, 2, 2), float(count)), list(rows), seconds)


def test_traces_of_parts_become_means_over_all_images():
    one = result(
        3, (1, "total", 8.0, 1.0), (1, "ssim", 0.1, 1.0), (2, "total", 4.0, 2.0), seconds=2.0
    )
    other = result(1, (1, "total", 4.0, 0.5), (1, "ssim", 0.5, 0.5), seconds=0.5)
    found = preimage.joined([one, other])
    assert found.images[:, 0, 0, 0].tolist() == [3, 3, 3, 1]
    assert found.trace == [
        (1, "total", 7.0, 1.5),
        (1, "ssim", pytest.approx(0.2), 1.5),
        (2, "total", 4.0, 2.5),  # the other had come to rest
    ]
    assert found.seconds == 2.5
    assert preimage.joined([one]) is one
