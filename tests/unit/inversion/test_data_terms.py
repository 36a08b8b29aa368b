"""Data terms against their formulas."""

import pytest
import torch

from deep_restoration.inversion.data_terms import DATA_TERMS, Matching, MeanSquared


@pytest.fixture
def maps():
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(3, 4, 5, 6, generator=draw, dtype=torch.float64) for _ in range(2)]


def literal(name, found, target):
    result = []
    for one, other in zip(found, target, strict=True):
        squares = [(a - b) ** 2 for a, b in zip(one.flatten(), other.flatten(), strict=True)]
        size = len(squares) if name == "mse" else sum(b**2 for b in other.flatten())
        result.append(sum(squares) / size)
    return torch.stack(result)


@pytest.mark.parametrize("name", sorted(DATA_TERMS))
def test_data_terms_are_their_literal_transcription(name, maps):
    found, target = maps
    term = DATA_TERMS[name]("conv", target, "abc")
    energy = term.energy({"conv": found.float(), "other": found * 2})
    assert energy.shape == (3,)
    torch.testing.assert_close(energy.double(), literal(name, found, target), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", sorted(DATA_TERMS))
def test_the_scale_is_the_energy_of_maps_of_nothing(name, maps):
    target = maps[1]
    term = DATA_TERMS[name]("conv", target, "abc")
    nothing = term.energy({"conv": torch.zeros_like(target, dtype=torch.float32)})
    torch.testing.assert_close(nothing, term.scale)


@pytest.mark.parametrize("name", sorted(DATA_TERMS))
def test_some_images_of_a_term_have_the_energies_that_they_had(name, maps):
    found, target = (part.float() for part in maps)
    term = DATA_TERMS[name]("conv", target, "abc")
    index = torch.tensor([2, 0])
    some = term.select(index)
    assert torch.equal(some.energy({"conv": found[index]}), term.energy({"conv": found})[index])
    assert torch.equal(some.scale, term.scale[index])
    assert len(term.target) == 3


@pytest.mark.parametrize("name", sorted(DATA_TERMS))
def test_dead_layers_name_their_images(name, maps):
    maps[1][1] = 0
    with pytest.raises(ValueError, match="feature maps of dog are all zero"):
        DATA_TERMS[name]("conv", maps[1], ["cat", "dog", "cow"])


def test_flat_layers_have_the_same_terms():
    target, found = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]])
    assert Matching("fc", target, "a").energy({"fc": found}).item() == pytest.approx(1.0)
    assert MeanSquared("fc", target, "a").energy({"fc": found}).item() == pytest.approx(2.5)
