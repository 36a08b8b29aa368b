"""Data terms against their formulas."""

import numpy as np
import pytest
import torch

from deep_restoration.files.hdf5 import create_hdf5
from deep_restoration.inversion.data_terms import (
    DATA_TERMS,
    Given,
    Matching,
    MeanSquared,
    Whitened,
    channel_whitening,
)
from deep_restoration.statistics import streaming

TO_ROUNDING = {"rtol": 1e-5, "atol": 0.0}


@pytest.fixture
def maps():
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(3, 4, 5, 6, generator=draw, dtype=torch.float64) for _ in range(2)]


@pytest.fixture
def whitening():
    draw = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, generator=draw)


def write_statistics(path, maps):
    """The file that the stage of statistics makes of maps, N x C x H x W or N x C."""
    with create_hdf5(path, "statistics", {}) as file:
        streaming.write_statistics(file, streaming.measure(maps, range(len(maps)), radius=0))
    return path


def correlated(count, channels, side, rank, seed=0):
    """Gaussian maps of that rank around a mean far from zero, whose channels are correlated."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, rank, generator=torch.Generator().manual_seed(9))
    mixing *= torch.logspace(1, -1, rank)
    sources = torch.randn(count, rank, side, side, generator=draw)
    return 7 + torch.einsum("cr,nrhw->nchw", mixing, sources)


def literal(name, found, target, whitening):
    result = []
    for one, other in zip(found, target, strict=True):
        if name == "whitened":
            values = []
            for row in range(one.shape[1]):
                for column in range(one.shape[2]):
                    difference = one[:, row, column] - other[:, row, column]
                    values += [(component @ difference) ** 2 for component in whitening.double()]
            result.append(sum(values) / len(values))
            continue
        squares = [(a - b) ** 2 for a, b in zip(one.flatten(), other.flatten(), strict=True)]
        size = len(squares) if name == "mse" else sum(b**2 for b in other.flatten())
        result.append(sum(squares) / size)
    return torch.stack(result)


@pytest.mark.parametrize("name", sorted(DATA_TERMS))
def test_data_terms_are_their_literal_transcription(name, maps, whitening):
    found, target = maps
    term = DATA_TERMS[name](Given("conv", target, "abc", whitening))
    energy = term.energy({"conv": found.float(), "other": found * 2})
    assert energy.shape == (3,)
    expected = literal(name, found, target, whitening)
    torch.testing.assert_close(energy.double(), expected, **TO_ROUNDING)


@pytest.mark.parametrize("name", ["mse", "normalised"])
def test_the_scale_is_the_energy_of_maps_of_nothing(name, maps):
    target = maps[1]
    term = DATA_TERMS[name](Given("conv", target, "abc"))
    nothing = term.energy({"conv": torch.zeros_like(target, dtype=torch.float32)})
    torch.testing.assert_close(nothing, term.scale)


@pytest.mark.parametrize("name", sorted(DATA_TERMS))
def test_some_images_of_a_term_have_the_energies_that_they_had(name, maps, whitening):
    found, target = (part.float() for part in maps)
    term = DATA_TERMS[name](Given("conv", target, "abc", whitening))
    index = torch.tensor([2, 0])
    some = term.select(index)
    assert torch.equal(some.energy({"conv": found[index]}), term.energy({"conv": found})[index])
    assert torch.equal(some.scale, term.scale[index])
    assert len(term.target) == 3


@pytest.mark.parametrize("name", sorted(DATA_TERMS))
def test_dead_layers_name_their_images(name, maps, whitening):
    maps[1][1] = 0
    with pytest.raises(ValueError, match="feature maps of dog are all zero"):
        DATA_TERMS[name](Given("conv", maps[1], ["cat", "dog", "cow"], whitening))


def test_flat_layers_have_the_same_terms():
    target, found = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]])
    assert Matching("fc", target, "a").energy({"fc": found}).item() == pytest.approx(1.0)
    assert MeanSquared("fc", target, "a").energy({"fc": found}).item() == pytest.approx(2.5)
    energy = Whitened("fc", target, "a", torch.tensor([[1.0, 2.0]])).energy({"fc": found})
    assert energy.item() == pytest.approx((1 + 2 * 2) ** 2)


# ------------------------------------------------------------------------------ whitened


def test_the_whitening_is_that_of_the_leading_eigenvectors(tmp_path):
    maps = correlated(20, 6, 4, 6)
    rows = torch.stack([maps[n, :, y, x] for n in range(20) for y in range(4) for x in range(4)])
    rows = rows.double() - rows.double().mean(0)
    values, vectors = np.linalg.eigh((rows.T @ rows / len(rows)).numpy())
    found = channel_whitening("conv", write_statistics(tmp_path / "maps.h5", maps), 3)
    assert found.dtype == torch.float32
    assert found.shape == (3, 6)
    for row, number in zip(found.double().numpy(), (5, 4, 3), strict=True):
        expected = vectors[:, number] / np.sqrt(values[number])
        np.testing.assert_allclose(row * np.sign(row @ expected), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("components", [1, 3, 8])
def test_natural_maps_are_2_apart_and_1_from_their_mean(tmp_path, components):
    path = write_statistics(tmp_path / "maps.h5", correlated(60, 8, 6, 8))
    whitening = channel_whitening("conv", path, components)
    new, other = (correlated(200, 8, 6, 8, seed) for seed in (1, 2))
    names = list(map(str, range(200)))
    term = Whitened("conv", new, names, whitening)
    assert term.energy({"conv": other}).mean().item() == pytest.approx(2, rel=0.05)
    mean = torch.full_like(new, 7.0)
    assert term.energy({"conv": mean}).mean().item() == pytest.approx(1, rel=0.05)
    assert torch.equal(term.scale, torch.ones(200))


def test_dead_channels_count_for_nothing(tmp_path):
    living = correlated(20, 5, 4, 5)
    maps = torch.zeros(20, 8, 4, 4)
    alive = [0, 2, 3, 5, 7]
    maps[:, alive] = living
    whitening = channel_whitening("conv", write_statistics(tmp_path / "maps.h5", maps), 64)
    assert whitening.shape == (5, 8)
    assert whitening[:, [1, 4, 6]].abs().max() < 1e-6 * whitening.abs().max()
    own = channel_whitening("conv", write_statistics(tmp_path / "living.h5", living), 64)
    one = Whitened("conv", maps[:2], "ab", whitening).energy({"conv": maps[2:4]})
    other = Whitened("conv", living[:2], "ab", own).energy({"conv": living[2:4]})
    torch.testing.assert_close(one, other, rtol=1e-4, atol=0)


def test_there_are_no_more_components_than_maps_have(tmp_path):
    path = write_statistics(tmp_path / "maps.h5", correlated(20, 9, 4, 3))
    assert channel_whitening("conv", path, 64).shape == (3, 9)


def test_there_are_at_most_half_as_many_components_as_samples(tmp_path):
    flat = correlated(10, 40, 1, 40).flatten(1)
    path = write_statistics(tmp_path / "fc.h5", flat)
    whitening = channel_whitening("fc", path, 64)
    assert whitening.shape == (5, 40)
    assert Whitened("fc", flat[:2], "ab", whitening).energy({"fc": flat[2:4]}).isfinite().all()


def test_maps_that_never_vary_are_refused_by_name(tmp_path):
    path = write_statistics(tmp_path / "maps.h5", torch.ones(4, 3, 2, 2))
    with pytest.raises(ValueError, match=r"maps of conv3 are the same in all images.*normalised"):
        channel_whitening("conv3", path, 64)


def test_gradients_of_the_whitened_term_are_those_of_its_formula(maps, whitening):
    found, target = (part.float() for part in maps)
    found.requires_grad_()
    Whitened("conv", target, "abc", whitening).energy({"conv": found}).sum().backward()
    known = found.detach().double().requires_grad_()
    literal("whitened", known, target.double(), whitening).sum().backward()
    torch.testing.assert_close(found.grad.double(), known.grad, rtol=1e-4, atol=1e-6)
