"""Data terms besides matching: inner products and Gram matrices, against literal sums in float64."""

import pytest
import torch

from deep_restoration.inversion.data_terms import Gram, InnerProduct, gram


def maps(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def literal_gram(values):
    """G_ij = sum_k F_ik F_jk of C x H x W, entry by entry."""
    flat = values.double().flatten(1)
    channels, positions = flat.shape
    result = torch.zeros(channels, channels, dtype=torch.float64)
    for i in range(channels):
        for j in range(channels):
            for k in range(positions):
                result[i, j] += flat[i, k] * flat[j, k]
    return result


def literal_style(values, wanted):
    """1 / (4 N^2 M^2) sum (G - A)^2 with N channels and M positions, Gatys et al. 2015."""
    channels, positions = values.shape[0], values[0].numel()
    difference = literal_gram(values) - literal_gram(wanted)
    return difference.square().sum() / (4 * channels**2 * positions**2)


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (3, 7)])
def test_inner_product_is_minus_the_sum_of_products(shape):
    found, target = maps(0, *shape), maps(1, *shape)
    term = InnerProduct("a", target, torch.ones(3))
    energy = term.energy({"a": found, "b": None})
    for index in range(3):
        pairs = zip(
            found[index].double().flatten().tolist(),
            target[index].double().flatten().tolist(),
            strict=True,
        )
        assert energy[index].item() == pytest.approx(-sum(x * y for x, y in pairs), rel=1e-5)


def test_gradient_of_the_inner_product_is_minus_its_target():
    found, target = maps(0, 2, 3, 4, 4).requires_grad_(True), maps(1, 2, 3, 4, 4)
    (gradient,) = torch.autograd.grad(
        InnerProduct("a", target, torch.ones(2)).energy({"a": found}).sum(), found
    )
    assert torch.equal(gradient, -target)


def test_gram_matrices_are_the_literal_ones():
    values = maps(0, 2, 4, 3, 5)
    for index in range(2):
        assert torch.allclose(
            gram(values)[index].double(), literal_gram(values[index]), rtol=1e-5, atol=1e-5
        )
    flat = maps(0, 2, 4)
    assert torch.allclose(gram(flat), flat[:, :, None] * flat[:, None, :])


def test_style_is_that_of_the_paper():
    wanted = {"a": maps(0, 2, 4, 5, 5), "b": maps(1, 2, 3, 3, 3)}
    found = {"a": maps(2, 2, 4, 5, 5), "b": maps(3, 2, 3, 3, 3)}
    content = maps(4, 2, 3, 3, 3)
    term = Gram(wanted, content=("b", content), content_weight=0.25, relative=False)
    energy = term.energy(found)
    for index in range(2):
        expected = 0.5 * literal_style(found["a"][index], wanted["a"][index])
        expected += 0.5 * literal_style(found["b"][index], wanted["b"][index])
        expected += 0.25 * 0.5 * (found["b"][index] - content[index]).double().square().sum()
        assert energy[index].item() == pytest.approx(expected.item(), rel=1e-4)


def test_weights_of_layers_count():
    wanted = {"a": maps(0, 1, 4, 5, 5), "b": maps(1, 1, 3, 3, 3)}
    found = {"a": maps(2, 1, 4, 5, 5), "b": maps(3, 1, 3, 3, 3)}
    energy = Gram(wanted, {"a": 0.2, "b": 3.0}, relative=False).energy(found)
    expected = 0.2 * literal_style(found["a"][0], wanted["a"][0])
    expected += 3.0 * literal_style(found["b"][0], wanted["b"][0])
    assert energy.item() == pytest.approx(expected.item(), rel=1e-4)


def test_relative_losses_do_not_see_the_scale_of_a_layer():
    wanted = {"a": maps(0, 2, 4, 5, 5), "b": maps(1, 2, 3, 3, 3)}
    found = {"a": maps(2, 2, 4, 5, 5), "b": maps(3, 2, 3, 3, 3)}
    content = ("b", wanted["b"])
    energy = Gram(wanted, content=content).energy(found)
    louder = Gram({"a": 100 * wanted["a"], "b": wanted["b"]}, content=content)
    assert torch.allclose(louder.energy({"a": 100 * found["a"], "b": found["b"]}), energy)
    nothing = {layer: torch.zeros_like(values) for layer, values in wanted.items()}
    term = Gram(wanted, content=content, content_weight=0.5)
    assert torch.allclose(term.energy(nothing), torch.full((2,), 1.5))
    assert torch.allclose(term.scale, term.energy(nothing))


@pytest.mark.parametrize("relative", [True, False])
def test_nothing_is_lost_where_the_maps_are_the_wanted_ones(relative):
    wanted = {"a": maps(0, 2, 4, 5, 5)}
    term = Gram(wanted, relative=relative)
    assert term.energy(wanted).abs().max() < 1e-10
    shuffled = wanted["a"].flatten(2)[..., torch.randperm(25)].view(2, 4, 5, 5)
    assert (term.energy({"a": shuffled}) < 1e-8 * term.scale).all()  # a texture has no places
    assert (term.energy({"a": wanted["a"].roll(1, 1)}) > 1e-2 * term.scale).all()


def test_gradient_of_the_style_is_that_of_finite_differences():
    wanted, found = {"a": maps(0, 1, 3, 4, 4).double()}, maps(1, 1, 3, 4, 4)
    term = Gram(wanted, content=("a", maps(2, 1, 3, 4, 4)), relative=False)
    found.requires_grad_(True)
    (gradient,) = torch.autograd.grad(term.energy({"a": found}).sum(), found)
    for place in [(0, 0, 0, 0), (0, 1, 2, 3), (0, 2, 3, 1)]:
        ahead, behind = found.detach().clone(), found.detach().clone()
        ahead[place] += 1e-2
        behind[place] -= 1e-2
        slope = (term.energy({"a": ahead}) - term.energy({"a": behind})) / 2e-2
        assert gradient[place].item() == pytest.approx(slope.item(), rel=2e-2, abs=1e-3)


def test_a_batch_gives_what_each_image_gives_alone():
    found, target = {"a": maps(0, 4, 5, 6, 6)}, maps(1, 4, 5, 6, 6)
    content = maps(2, 4, 5, 6, 6)
    together = [
        InnerProduct("a", target, torch.ones(4)).energy(found),
        Gram({"a": target}, content=("a", content)).energy(found),
    ]
    for index in range(4):
        part, alone = slice(index, index + 1), {"a": found["a"][index : index + 1]}
        apart = [
            InnerProduct("a", target[part], torch.ones(1)).energy(alone),
            Gram({"a": target[part]}, content=("a", content[part])).energy(alone),
        ]
        for one, many in zip(apart, together, strict=True):
            assert torch.allclose(one, many[part], rtol=1e-5)


def test_some_of_the_images_have_the_term_of_all():
    found, target, content = {"a": maps(0, 4, 5, 6, 6)}, maps(1, 4, 5, 6, 6), maps(2, 4, 5, 6, 6)
    index = torch.tensor([2, 0])
    some = {"a": found["a"][index]}
    for term in (
        InnerProduct("a", target, torch.arange(4.0)),
        Gram({"a": target}, content=("a", content)),
        Gram({"a": target}, relative=False),
    ):
        chosen = term.select(index)
        assert torch.allclose(chosen.energy(some), term.energy(found)[index], rtol=1e-5)
        assert torch.equal(chosen.scale, term.scale[index])


def test_maps_without_a_texture_are_refused():
    empty = {"a": maps(0, 2, 3, 4, 4), "b": torch.zeros(2, 3, 4, 4)}
    with pytest.raises(ValueError, match="the maps of b are all zero"):
        Gram(empty)
    with pytest.raises(ValueError, match="the maps of c are all zero"):
        Gram({"a": empty["a"]}, content=("c", torch.zeros(2, 3, 4, 4)))
