"""From stored maps and patches to stored priors: what each method makes of tiny files."""

import numpy as np
import pytest
import torch

from deep_restoration.data import images, patches, splits
from deep_restoration.files.atomic import StorageError
from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, write_array, write_names
from deep_restoration.priors import material, training
from deep_restoration.priors.base import Calibrated
from deep_restoration.priors.borders import BORDERS
from deep_restoration.priors.experts import EXPERTS
from deep_restoration.priors.registry import load
from deep_restoration.runtime.errors import DivergedError
from deep_restoration.statistics.moments import Moments
from deep_restoration.study import schema

SHARE = 0.25


pytestmark = pytest.mark.usefixtures("one_thread")


def smooth(*shape, seed=0):
    """Correlated over positions and channels, and heavy-tailed."""
    rng = np.random.default_rng(seed)
    x = rng.laplace(size=shape)
    if len(shape) == 4:
        x = x + np.roll(x, 1, 2) + 0.5 * np.roll(x, 1, 3)
    return (x + 0.7 * np.roll(x, 1, 1)).astype(np.float32)


def pixels(count=12, side=8, seed=0):
    """Smooth photographs of noise, N x H x W x 3."""
    x = smooth(count, 3, side, side, seed=seed)
    x = (x - x.min()) / (x.max() - x.min())
    return np.rint(255 * x).astype(np.uint8).transpose(0, 2, 3, 1)


def write_maps(path, stage, data):
    with create_hdf5(path, stage, {}) as file:
        write_array(file, stage, data, "units")
    return path


def write_patches(path, maps, size, dc, contrast=None, scale=1):
    """All patches of maps N x C x H x W, those of the held-out maps apart."""
    kept = splits.held_out(len(maps), SHARE)
    shape = (maps.shape[1], size, size)
    every = np.arange((maps.shape[2] - size + 1) * (maps.shape[3] - size + 1))
    parts = {
        name: np.concatenate([patches.gather(x, size, every) for x in maps[chosen]])
        for name, chosen in (("patches", ~kept), ("held_out", kept))
    }
    flat = patches.remove_dc(parts["patches"].astype(np.float64) / scale, dc)
    moments = Moments(int(np.prod(shape)))
    moments.add(patches.normalise_contrast(flat, contrast))
    with create_hdf5(path, "patches", {}) as file:
        for name, data in parts.items():
            write_array(file, name, data, "units")
        file.attrs.update({"dc": dc, "contrast": contrast or 0.0, "scale": scale})
        write_array(file, "mean", moments.mean)
        write_array(file, "covariance", moments.covariance)
    return path


def plan(method, of, **changes):
    """Settings as a rule passes them on, defaults included."""
    rest = {"method": method, "of": of, "held_out": SHARE, "seed": 0}
    experts = {} if method in ("denoiser", "unet") else {"expert": "student_t", "filters": 5}
    given = {"batch": 16, "steps": 12} | experts
    return schema.filled("priors", {"method": method}) | given | rest | changes


@pytest.fixture
def fit(tmp_path):
    def run(settings, maps, patch_file=None, name="prior"):
        stage = "features" if settings["of"] == "features" else "images"
        file = write_maps(tmp_path / f"{name}.maps.h5", stage, maps)
        output = tmp_path / f"{name}.safetensors"
        prior, history = training.train(settings, file, patch_file, output, ["key"])
        prior.save(output, {"settings": settings})
        assert not list(tmp_path.glob("*.checkpoint"))
        return load(output), history

    return run


# ------------------------------------------------------------------------------ maps


def test_images_are_loaded_channels_first_and_some_held_out(tmp_path):
    data = pixels(10)
    path = write_maps(tmp_path / "a.h5", "images", data)
    maps, kept = material.load_maps(path, "images", 0.2)
    held = splits.held_out(10, 0.2)
    assert held.sum() == 2
    assert np.array_equal(maps, data[~held].transpose(0, 3, 1, 2))
    assert np.array_equal(kept, data[held].transpose(0, 3, 1, 2))
    assert maps.dtype == np.uint8


def test_grey_images_have_one_channel_of_luma(tmp_path):
    data = pixels(10)
    path = write_maps(tmp_path / "a.h5", "images", data)
    maps, kept = material.load_maps(path, "grey", 0.2)
    held = splits.held_out(10, 0.2)
    assert maps.shape == (8, 1, 8, 8)
    assert maps.dtype == np.uint8
    red, green, blue = (data[..., c].astype(np.float64) for c in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(maps[:, 0] - luma[~held]).max() <= 0.5 + 1e-9
    assert np.abs(kept[:, 0] - luma[held]).max() <= 0.5 + 1e-9
    assert np.array_equal(images.grey(data)[~held], maps[:, 0])


@pytest.mark.parametrize("shape", [(9, 4, 5, 6), (9, 7)])
def test_feature_maps_have_two_dimensions_of_position(shape, tmp_path):
    data = smooth(*shape)
    path = write_maps(tmp_path / "a.h5", "features", data)
    maps, kept = material.load_maps(path, "features", 0.3)
    held = splits.held_out(9, 0.3)
    whole = data.reshape(*shape, 1, 1) if len(shape) == 2 else data
    assert np.array_equal(maps, whole[~held])
    assert np.array_equal(kept, whole[held])
    assert maps.dtype == np.float32


def test_more_maps_than_fit_into_memory_are_thinned_out_evenly(tmp_path, monkeypatch):
    data = np.arange(20, dtype=np.float32).repeat(6).reshape(20, 6)
    path = write_maps(tmp_path / "a.h5", "features", data)
    monkeypatch.setattr(material, "MEMORY", 5 * data[0].nbytes)
    maps, kept = material.load_maps(path, "features", 0.1)
    rows = maps[:, 0, 0, 0]
    assert len(rows) == 5
    assert len(kept) == 2
    assert set(rows).isdisjoint(kept[:, 0, 0, 0])
    assert np.ptp(np.diff(rows)) <= 2
    assert rows[0] < 4
    assert rows[-1] > 14


def test_one_map_is_too_few_for_a_prior(tmp_path):
    path = write_maps(tmp_path / "a.h5", "features", smooth(1, 4, 5, 5))
    with pytest.raises(ValueError, match=r"a.h5 holds 1 maps; a prior needs at least 2"):
        material.load_maps(path, "features", 0.5)
    path = write_maps(tmp_path / "a.h5", "features", smooth(2, 4, 5, 5))
    maps, kept = material.load_maps(path, "features", 0.5)
    assert len(maps) == len(kept) == 1


def named_maps(path, names):
    data = np.arange(len(names), dtype=np.float32)[:, None]
    with create_hdf5(path, "features", {}) as file:
        write_array(file, "features", data, "units")
        write_names(file, names)
    return path


def test_halves_have_every_other_photograph_with_all_of_its_crops(tmp_path):
    names = [f"{shown}.png-{crop:03}" for shown in "abcde" for crop in range(4)]
    assert images.photograph(names[0]) == images.photograph(names[3]) != images.photograph(names[4])
    path = named_maps(tmp_path / "a.h5", names)
    whole, held = material.load_maps(path, "features", 0.2)
    parts = [material.load_maps(path, "features", 0.2, half) for half in material.HALVES]
    for maps, kept in parts:
        assert np.array_equal(kept, held)
        assert set(maps[:, 0, 0, 0]) <= set(whole[:, 0, 0, 0])
    first, second = ({names[int(i)][0] for i in maps[:, 0, 0, 0]} for maps, _ in parts)
    assert (first, second) == ({"a", "c", "e"}, {"b", "d"})
    assert sum(len(maps) for maps, _ in parts) == len(whole)


def test_a_half_without_a_photograph_is_refused(tmp_path):
    path = named_maps(tmp_path / "a.h5", [f"a.png-{crop:03}" for crop in range(4)])
    assert len(material.load_maps(path, "features", 0.2, "first_half")[0]) == 3
    message = r"the second_half of the 1 photographs in .*a.h5 has none.*part: all"
    with pytest.raises(ValueError, match=message):
        material.load_maps(path, "features", 0.2, "second_half")


def test_maps_of_another_stage_are_refused(tmp_path):
    path = write_maps(tmp_path / "a.h5", "images", pixels(4))
    with pytest.raises(StorageError, match="features"):
        material.load_maps(path, "features", 0.5)


def test_batches_are_floats_and_images_in_the_unit_interval():
    data = pixels(5).transpose(0, 3, 1, 2)
    found = list(material.batches(data, 2))
    assert [len(part) for part in found] == [2, 2, 1]
    expected = torch.from_numpy(data.astype(np.float32) / 255)
    torch.testing.assert_close(torch.cat(found).cpu(), expected)
    maps = smooth(3, 2, 4, 4)
    assert np.array_equal(torch.cat(list(material.batches(maps, 2))).cpu().numpy(), maps)


# ------------------------------------------------------------------------------ by hand


class ByHand:
    """Responses s = t'P(p - m) of patterns t to DC-free patches p, P the inverse of their covariance
    as far as the model keeps it: what whitening, filtering and folding amount to."""

    def __init__(self, prior, path, blocks=1, noise=0.0, dimensions=None, components=None):
        with open_hdf5(path, "patches") as file:
            self.mean, covariance = file["mean"][...], file["covariance"][...]
            self.dc, self.contrast = str(file.attrs["dc"]), float(file.attrs["contrast"]) or None
            self.shape = file["patches"].shape[1:]
            self.held = file["held_out"][...].astype(np.float64) / float(file.attrs["scale"])
        free = patches.dc_matrix(self.shape, self.dc)
        covariance = covariance + noise**2 * free @ free.T
        side = len(covariance) // blocks
        self.inverses = []
        for start in range(0, len(covariance), side):
            block = covariance[start : start + side, start : start + side]
            kept = np.eye(side)
            if components:  # the leading principal components of each channel
                area = self.shape[1] * self.shape[2]
                kept = np.zeros((side, side))
                for c in range(0, side, area):
                    _, vectors = np.linalg.eigh(block[c : c + area, c : c + area])
                    leading = vectors[:, -components:]
                    kept[c : c + area, c : c + area] = leading @ leading.T
            values, vectors = np.linalg.eigh(kept @ block @ kept)
            count = int((values > 1e-6 * values.max()).sum())
            leading = slice(side - min(count, dimensions or count), None)
            self.inverses.append(vectors[:, leading] / values[leading] @ vectors[:, leading].T)
        patterns = prior.patterns.double().cpu().numpy()
        self.patterns = patterns.reshape(blocks, -1, side)
        self.alphas = prior.alphas.double().cpu().numpy()
        self.expert = EXPERTS[prior.expert_name]

    def responses(self, some):
        """n x K of patches n x C x k x k, group by group."""
        flat = patches.normalise_contrast(patches.remove_dc(some, self.dc), self.contrast)
        parts = np.split(flat - self.mean, len(self.inverses), axis=1)
        trios = zip(parts, self.inverses, self.patterns, strict=True)
        return np.concatenate([x @ inverse @ t.T for x, inverse, t in trios], 1)

    def of(self, x):
        """Responses of maps N x C x H x W: N x K x H' x W'."""
        height, width = x.shape[2] - self.shape[1] + 1, x.shape[3] - self.shape[2] + 1
        every = np.arange(height * width)
        found = [self.responses(patches.gather(one, self.shape[1], every)) for one in x]
        return np.stack(found).transpose(0, 2, 1).reshape(len(x), -1, height, width)

    def objective(self):
        """Score matching on the held-out patches, summed over groups, in whitened coordinates:
        the inner products of filters there are t'Pt."""
        total, found = 0.0, self.responses(self.held)
        found = np.split(found, len(self.inverses), axis=1)
        alphas = np.split(self.alphas, len(self.inverses))
        for s, alpha, inverse, t in zip(found, alphas, self.inverses, self.patterns, strict=True):
            g, dg, _ = (y.numpy() for y in self.expert.derivatives(torch.from_numpy(s)))
            gram = t @ inverse @ t.T
            weighted = g * alpha
            squares = 0.5 * np.einsum("nk,kl,nl->n", weighted, gram, weighted)
            total += (dg @ (alpha * np.diag(gram)) + squares).mean()
        return total

    def energies(self, x):
        """Energy of each patch of x."""
        G = self.expert.G(torch.from_numpy(self.of(x))).numpy()
        return -np.einsum("k,nkij->nij", self.alphas, G)


def held_maps(maps):
    kept = maps[splits.held_out(len(maps), SHARE)]
    return kept.astype(np.float64) / (255 if maps.dtype == np.uint8 else 1)


def agree(prior, hand, history, kept):
    """The stored prior responds, scores and is calibrated as by hand, with either border."""
    frame = [((k - 1) // 2, k // 2) for k in prior.size]
    for prior.border in BORDERS:
        x = kept if prior.border == "valid" else np.pad(kept, [(0, 0), (0, 0), *frame], "reflect")
        found = prior.responses(torch.from_numpy(kept)).numpy()
        expected = hand.of(x)
        np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
        assert np.abs(expected).mean() > 0.1
        energies = hand.energies(x)
        assert prior.mean == pytest.approx(energies.mean(), rel=1e-3, abs=1e-4)
        assert prior.spread == pytest.approx(energies.std(), rel=1e-3)
    best = min(row[2] for row in history)
    assert prior.facts["held_out_objective"] == best
    assert history[-1][0] == 12
    return best


# ------------------------------------------------------------------------------ patches

FEATURES = {
    "full": ({}, {}),
    "full, free lengths": ({"unit_norm": False, "expert": "logistic"}, {}),
    "full, few dimensions": ({"dimensions": 10}, {"dimensions": 10}),
    "full, zca": ({"whitening": "zca"}, {}),
    "channelwise": ({"variant": "channelwise"}, {"blocks": 4}),
    "groups": ({"variant": "groups", "groups": 2}, {"blocks": 2}),
    "separable": ({"variant": "separable", "multiplier": 3}, {"components": 3}),
    "separable, all components": ({"variant": "separable", "multiplier": 9}, {}),
}


@pytest.mark.parametrize("dc", ["none", "channel"])
@pytest.mark.parametrize("case", FEATURES)
def test_patch_models_of_feature_maps_are_what_whitening_by_hand_gives(case, dc, fit, tmp_path):
    changes, options = FEATURES[case]
    maps = 3 + smooth(12, 4, 6, 7)
    path = write_patches(tmp_path / "patches.h5", maps, 3, dc)
    settings = plan("patch", "features", **changes)
    prior, history = fit(settings, maps, path)
    hand = ByHand(prior, path, **options)
    best = agree(prior, hand, history, held_maps(maps))
    assert hand.objective() == pytest.approx(best, rel=1e-3)
    assert len(prior.alphas) == 5 * options.get("blocks", 1)
    assert prior.channels == 4
    assert prior.facts["of"] == "features"


@pytest.mark.parametrize("of", ["images", "grey"])
@pytest.mark.parametrize("dc", ["patch", "channel", "none"])
@pytest.mark.parametrize("contrast", [None, 0.05])
def test_patch_models_of_images_are_what_whitening_by_hand_gives(of, dc, contrast, fit, tmp_path):
    data = pixels()
    maps = images.grey(data)[:, None] if of == "grey" else data.transpose(0, 3, 1, 2)
    path = write_patches(tmp_path / "patches.h5", maps, 3, dc, contrast, 255)
    prior, history = fit(plan("patch", of), data, path)
    hand = ByHand(prior, path)
    best = agree(prior, hand, history, held_maps(maps))
    assert hand.objective() == pytest.approx(best, rel=1e-3)
    assert prior.channels == (1 if of == "grey" else 3)
    assert prior.facts["of"] == of


@pytest.mark.parametrize(("of", "noise"), [("features", 20.0), ("images", 10.0)])
def test_noise_is_in_percent_of_feature_maps_and_in_grey_levels_of_images(of, noise, fit, tmp_path):
    data, maps, scale = pixels(), smooth(12, 3, 6, 6), 1
    if of == "images":
        maps, scale = data.transpose(0, 3, 1, 2), 255
    path = write_patches(tmp_path / "patches.h5", maps, 3, "patch", None, scale)
    settings = plan("patch", of, noise=noise)
    prior, history = fit(settings, data if of == "images" else maps, path)
    deviation = noise / 255
    if of == "features":
        with open_hdf5(path, "patches") as file:
            deviation = noise / 100 * np.sqrt(np.diag(file["covariance"][...]).mean())
    agree(prior, ByHand(prior, path, noise=deviation), history, held_maps(maps))


def test_unit_filters_have_length_one_in_whitened_space(fit, tmp_path):
    maps = smooth(12, 4, 6, 7)
    path = write_patches(tmp_path / "patches.h5", maps, 3, "none")
    lengths = {}
    for unit in (True, False):
        prior, _ = fit(plan("patch", "features", unit_norm=unit), maps, path)
        hand = ByHand(prior, path)
        lengths[unit] = np.einsum("gkd,de,gke->k", hand.patterns, *hand.inverses, hand.patterns)
    np.testing.assert_allclose(lengths[True], 1, rtol=1e-3)
    assert np.abs(lengths[False] - 1).max() > 0.05


def test_flat_feature_maps_have_patches_of_one_position(fit, tmp_path):
    codes = smooth(40, 6)
    path = write_patches(tmp_path / "patches.h5", codes[:, :, None, None], 1, "none")
    prior, history = fit(plan("patch", "features"), codes, path)
    hand = ByHand(prior, path)
    best = agree(prior, hand, history, held_maps(codes)[:, :, None, None])
    assert hand.objective() == pytest.approx(best, rel=1e-3)


def test_training_lowers_the_objective(fit, tmp_path):
    maps = smooth(100, 3, 8, 8)
    path = write_patches(tmp_path / "patches.h5", maps, 3, "none")
    _, first = fit(plan("patch", "features", steps=1, filters=20), maps, path)
    _, history = fit(plan("patch", "features", steps=200, filters=20, batch=200), maps, path)
    assert [row[0] for row in history] == [100, 200]
    assert history[1][2] < history[0][2] < first[0][2] - 2


# ------------------------------------------------------------------------------ fields


def field_objective(prior, x, margin):
    """Score matching by second derivatives of the energy of one map, the mean over its middle."""
    x = x.clone().requires_grad_()
    energy = -(prior.expert.G(prior.responses(x)).sum((2, 3)) @ prior.alphas.to(x)).sum()
    (slope,) = torch.autograd.grad(energy, x, create_graph=True)
    first, total, count = slope.detach(), 0.0, 0
    inside = range(margin, x.shape[2] - margin)
    for c in range(x.shape[1]):
        for i in inside:
            for j in inside:
                second = torch.autograd.grad(slope[0, c, i, j], x, retain_graph=True)[0]
                total += 0.5 * float(first[0, c, i, j]) ** 2 - float(second[0, c, i, j])
                count += 1
    return total / count


@pytest.mark.parametrize("of", ["images", "grey", "features"])
@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("dc", ["patch", "none"])
def test_fields_are_scored_as_second_derivatives_of_their_energy(of, start, dc, fit, tmp_path):
    """Maps as large as a crop, one of them held out, which is its own mirror image."""
    data = pixels(3)
    data[0] = data[0, :, ::-1] // 2 + data[0] // 2
    maps = {
        "images": data.transpose(0, 3, 1, 2),
        "grey": images.grey(data)[:, None],
        "features": 3 + data.transpose(0, 3, 1, 2).astype(np.float32) / 100,
    }[of]
    path = write_patches(tmp_path / "patches.h5", maps, 3, dc, None, 1 if of == "features" else 255)
    settings = plan("field", of, start=start, middle=4, batch=4)
    prior, history = fit(settings, maps if of == "features" else data, path)
    kept = held_maps(maps)
    assert np.array_equal(kept, kept[..., ::-1])
    prior.border = "valid"
    found = field_objective(prior, torch.from_numpy(kept), 2)
    assert found == pytest.approx(prior.facts["held_out_objective"], rel=1e-3)
    for prior.border in BORDERS:
        energies = -(prior.expert.G(prior.responses(torch.from_numpy(kept)))).numpy()
        per_position = np.einsum("k,nkij->nij", prior.alphas.double().numpy(), energies)
        assert prior.mean == pytest.approx(per_position.mean(), rel=1e-4)
        assert prior.spread == pytest.approx(per_position.std(), rel=1e-3)
    assert [row[0] for row in history] == [12]


def test_the_field_of_colour_images_is_centred_on_their_mean_colour(fit, tmp_path):
    """A flat image of that colour has no response."""
    data = pixels() // 3 + np.array([10, 90, 150], np.uint8)
    maps = data.transpose(0, 3, 1, 2)
    path = write_patches(tmp_path / "patches.h5", maps, 3, "none", None, 255)
    prior, _ = fit(plan("field", "images", start=3, middle=4, batch=4), data, path)
    with open_hdf5(path, "patches") as file:
        colour = file["mean"][...].reshape(3, 9).mean(1)
    flat = torch.from_numpy(np.broadcast_to(colour[:, None, None], (1, 3, 8, 8)).copy())
    responses = prior.responses(flat)
    natural = prior.responses(torch.from_numpy(maps / 255.0))
    assert responses.abs().max() < 1e-3 * natural.abs().max()
    assert prior.bias.abs().max() > 0.1


def test_field_learns_from_its_start(fit, tmp_path):
    """Every pixel is in nine patches: the field's alphas begin at a ninth of the patch model's."""
    maps = smooth(12, 3, 10, 10)
    path = write_patches(tmp_path / "patches.h5", maps, 3, "none")
    rate = {"rate": 1e-9, "steps": 1, "middle": 4, "batch": 4}
    field, _ = fit(plan("field", "features", start=30, **rate), maps, path)
    options = {"steps": 30, "batch": 500, "rate": 2e-2, "unit_norm": False}
    patch, _ = fit(plan("patch", "features", **options), maps, path)
    torch.testing.assert_close(field.filters, patch.filters, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(field.alphas, patch.alphas / 9, rtol=1e-4, atol=0)


def test_maps_smaller_than_a_crop_are_refused(fit, tmp_path):
    maps = smooth(8, 3, 7, 9)
    path = write_patches(tmp_path / "patches.h5", maps, 3, "none")
    with pytest.raises(ValueError, match=r"crops of 8 x 8 do not fit into maps of 7 x 9"):
        fit(plan("field", "features", start=0, middle=4), maps, path)


# ------------------------------------------------------------------------------ denoisers


def material_of(of):
    """What a prior is trained on, the `of` of its settings, and the maps N x C x H x W that it sees."""
    data = {"features": smooth(12, 4, 6, 7), "flat": smooth(12, 5)}.get(of, pixels())
    maps = {
        "images": lambda: data.transpose(0, 3, 1, 2),
        "grey": lambda: images.grey(data)[:, None],
        "features": lambda: data,
        "flat": lambda: data[:, :, None, None],
    }[of]()
    return data, "features" if of == "flat" else of, maps


def check_calibration(prior, maps, of):
    """Mean and spread are those of the energies of held-out maps, sigma is 5 in the units of the maps.
    Returns the maps that were learned from."""
    kept = torch.from_numpy(held_maps(maps)).float()
    energies = [prior.energy(x[None]).item() / x.numel() for x in kept]
    assert prior.mean == pytest.approx(np.mean(energies), rel=1e-4)
    assert prior.spread == pytest.approx(np.std(energies), rel=1e-3)
    learned = maps[~splits.held_out(len(maps), SHARE)]
    unit = 1 / 255 if of in ("images", "grey") else learned.std() / 100
    assert prior.sigma == pytest.approx(5 * unit, rel=1e-5)
    return learned


@pytest.mark.parametrize("of", ["images", "grey", "features", "flat"])
def test_denoisers_are_trained_and_calibrated_on_all_maps(of, fit):
    data, source, maps = material_of(of)
    settings = plan("denoiser", source, width=4, batch=4, steps=3, crop=6, noise_samples=1)
    prior, history = fit(settings, data)
    check_calibration(prior, maps, of)
    assert prior.channels == maps.shape[1]
    assert prior.facts["of"] == source
    assert prior.facts["held_out_objective"] == history[-1][2]
    assert prior.facts["noise_levels"] == [3.0, 30.0]


@pytest.mark.parametrize("form", ["direct", "gradient_step"])
@pytest.mark.parametrize("of", ["images", "grey", "features", "flat"])
def test_u_nets_are_trained_and_calibrated_on_all_maps(of, form, fit):
    data, source, maps = material_of(of)
    settings = plan("unet", source, widths=[3, 4], batch=4, steps=3, crop=6, form=form)
    prior, history = fit(settings, data)
    check_calibration(prior, maps, of)
    assert (prior.kind, prior.form, prior.channels) == ("unet", form, maps.shape[1])
    assert prior.facts["held_out_objective"] == history[-1][2]
    assert (prior.facts["of"], prior.facts["noise_levels"]) == (source, [2.5, 510.0])


@pytest.mark.parametrize("of", ["images", "grey", "features", "flat"])
def test_spectra_are_learned_and_calibrated_on_all_maps(of, fit):
    data, source, maps = material_of(of)
    prior, history = fit(plan("wiener", source), data)
    learned = check_calibration(prior, maps, of)
    learned = learned / 255 if maps.dtype == np.uint8 else learned
    assert prior.variances.shape == maps.shape[1:]
    assert float(prior.variances.sum()) == pytest.approx(
        ((learned - learned.mean((0, 2, 3), keepdims=True)) ** 2).sum((1, 2, 3)).mean(), rel=1e-3
    )
    assert prior.facts == {"sigma": 5.0, "of": source, "held_out_objective": history[0][2]}


@pytest.mark.parametrize("of", ["images", "grey", "features", "flat"])
def test_ridge_energies_are_trained_and_calibrated_on_all_maps(of, fit):
    data, source, maps = material_of(of)
    quick = {"filters": 4, "group": 2, "size": 3, "batch": 4, "steps": 3, "crop": 6}
    prior, history = fit(plan("ridge", source, **quick, iterations=3), data)
    positions = maps[0, 0].size / maps[0].size  # check_calibration counts values
    prior.mean, prior.spread = prior.mean * positions, prior.spread * positions
    check_calibration(prior, maps, of)
    assert prior.channels == maps.shape[1]
    assert prior.facts["of"] == source
    assert prior.facts["held_out_objective"] == history[-1][2]
    assert prior.facts["noise_levels"] == [3.0, 50.0]


# ------------------------------------------------------------------------------ all methods

QUICK = {
    "patch": {"unit_norm": False},
    "field": {"start": 3, "middle": 4, "batch": 4},
    "denoiser": {"width": 2, "batch": 2, "crop": 6},
    "autoregressive": {"width": 2, "batch": 2, "crop": 6, "context": 2, "of": "images"},
    "unet": {"widths": [2, 3], "batch": 2, "crop": 6},
    "ridge": {"filters": 4, "group": 2, "size": 3, "batch": 2, "crop": 6, "iterations": 3},
}
CLOSED = {"wiener": {}}  # trained in one step
OF = {"of": "features"}


@pytest.fixture
def small(tmp_path, method):
    """Feature maps and their patches; images where the method is one of images."""
    maps = smooth(12, 3, 8, 8)
    file = write_patches(tmp_path / "patches.h5", maps, 3, "none")
    return (pixels() if "of" in QUICK.get(method, ()) else maps), file


def held(maps):
    """Held-out maps or images as a prior sees them."""
    if maps.dtype != np.uint8:
        return torch.from_numpy(held_maps(maps)).float()
    return torch.from_numpy(held_maps(maps.transpose(0, 3, 1, 2))).float()


@pytest.mark.parametrize("method", QUICK)
def test_divergence_ends_the_training_by_name(method, fit, small):
    with pytest.raises(DivergedError, match=r"at step \d+"):
        fit(plan(method, **OF | QUICK[method] | {"rate": 1e30}), *small)


@pytest.mark.parametrize("method", QUICK)
def test_a_resumed_fit_ends_as_an_unbroken_one(
    method, fit, small, tmp_path, stopping_after, monkeypatch
):
    settings = plan(method, **OF | QUICK[method])
    whole, history = fit(settings, *small)
    monkeypatch.setenv("RESTORATION_CHECKPOINT_SECONDS", "0")
    for count in (2, 5):  # of a field, the first breaks off in its start
        with stopping_after(count):
            fit(settings, *small)
        assert list(tmp_path.glob("*.checkpoint"))
    rest, continued = fit(settings, *small)
    x = held(small[0])
    assert torch.equal(rest.energy(x), whole.energy(x))
    assert (rest.mean, rest.spread) == (whole.mean, whole.spread)
    assert [row[:3] for row in map(tuple, continued)] == [row[:3] for row in history]


@pytest.mark.parametrize("method", QUICK | CLOSED)
def test_a_stored_prior_counts_from_its_calibration(method, fit, small):
    """In spreads around the mean of held-out maps, energies have the mean 0."""
    prior, _ = fit(plan(method, **OF | (QUICK | CLOSED)[method]), *small)
    kept = held(small[0])
    assert abs(Calibrated(prior).energy(kept).mean().item()) < 1e-3


@pytest.mark.parametrize("method", QUICK | CLOSED)
def test_held_out_maps_are_not_learned_from(method, fit, small):
    """Other held-out maps change the calibration but no weight, only whether a U-Net is used."""
    maps, path = small
    first, _ = fit(plan(method, **OF | (QUICK | CLOSED)[method]), maps, path)
    other = maps.copy()
    changed = splits.held_out(12, SHARE)
    other[changed] = other[changed] // 2
    second, _ = fit(plan(method, **OF | (QUICK | CLOSED)[method]), other, path)
    if method == "unet":
        second.gate = first.gate = first.gate._replace(open=torch.ones(len(first.gate.open)))
    x = held(maps)
    assert torch.equal(first.energy(x), second.energy(x))
    assert first.mean != second.mean


def test_no_more_held_out_maps_calibrate_than_promised(fit):
    """Of 127, every second: the energies of the others do not count."""
    codes = smooth(508, 2)
    codes[np.flatnonzero(splits.held_out(508, SHARE))[1::2]] *= 100
    settings = plan("denoiser", "features", width=2, batch=4, steps=1, noise_samples=0)
    prior, _ = fit(settings, codes)
    kept = codes[splits.held_out(508, SHARE)]
    assert len(kept) == 127
    energies = prior.energy(torch.from_numpy(kept[::2])[:, :, None, None]) / 2
    assert prior.mean == pytest.approx(energies.mean().item(), rel=1e-4)
