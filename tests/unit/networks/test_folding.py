import pytest
import torch
import torch.nn.functional as F

from deep_restoration.networks.folding import fold_filters, fold_maps, unfold_maps


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 8])
def test_folding_is_pixel_unshuffle_and_unfolding_its_inverse(step, dtype):
    maps = torch.rand(2, 3, 2 * step, 5 * step).to(dtype)
    folded = fold_maps(maps, step, (2, 5))
    assert folded.dtype == dtype
    assert folded.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(folded, F.pixel_unshuffle(maps, step))
    for layout in (torch.contiguous_format, torch.channels_last):
        given = folded.contiguous(memory_format=layout)
        assert torch.equal(unfold_maps(given, step, maps.shape[2:]), maps)


def test_maps_are_cut_and_padded_at_their_end():
    maps = torch.rand(1, 2, 7, 9)
    assert torch.equal(fold_maps(maps, 2, (3, 4)), F.pixel_unshuffle(maps[..., :6, :8], 2))
    padded = F.pad(maps, (0, 1, 0, 1))
    folded = fold_maps(maps, 2, (4, 5))
    assert torch.equal(folded, F.pixel_unshuffle(padded, 2))
    assert torch.equal(unfold_maps(folded, 2, (5, 6), (2, 1)), padded[..., 2:7, 1:7])
    expected = F.pad(padded, (3, 0, 2, 1))
    assert torch.equal(unfold_maps(folded, 2, (11, 13), (-2, -3)), expected)
    assert torch.equal(
        unfold_maps(folded, 2, (8, 9), (2, 1)), F.pad(padded[..., 2:, 1:], (0, 0, 0, 2))
    )


@pytest.mark.parametrize("step", [2, 3])
def test_both_have_gradients_of_any_order(step):
    maps = torch.rand(1, 2, 2 * step + 1, 3 * step - 1, dtype=torch.float64, requires_grad=True)
    folded = fold_maps(maps.detach(), step, (2, 3)).requires_grad_()

    def fold(x):
        return fold_maps(x, step, (2, 3)) ** 2

    def unfold(x):
        return unfold_maps(x, step, (2 * step, 3 * step), (0, 1)) ** 2

    for function, given in ((fold, maps), (unfold, folded)):
        assert torch.autograd.gradcheck(function, given)
        assert torch.autograd.gradgradcheck(function, given)


@pytest.mark.parametrize("kernel", [(3, 5), (4, 4), (2, 7)])
def test_folded_filters_on_folded_maps_are_the_strided_convolution(kernel):
    maps = torch.rand(2, 3, 19, 22, dtype=torch.float64)
    filters = torch.randn(4, 3, *kernel, dtype=torch.float64)
    expected = F.conv2d(maps, filters, stride=4)
    size = [n - 1 + -(-k // 4) for n, k in zip(expected.shape[2:], kernel, strict=True)]
    found = F.conv2d(fold_maps(maps, 4, size), fold_filters(filters, 4))
    torch.testing.assert_close(found, expected)
