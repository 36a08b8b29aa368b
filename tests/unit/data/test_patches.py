"""Patches against literal formulas."""

import numpy as np
import pytest
import torch

from deep_restoration.data import patches
from deep_restoration.files.hdf5 import create_hdf5, open_hdf5
from deep_restoration.priors import whitening
from deep_restoration.priors.field import FieldOfExperts
from deep_restoration.priors.whitening import VARIANTS, Projection, whitening_matrix
from deep_restoration.statistics.moments import Moments


def rng():
    return np.random.default_rng(0)


# ------------------------------------------------------------------------------ plan, gather


def test_plan_draws_the_count_within_the_positions():
    shares = patches.plan(1000, 7, 30, rng())
    assert len(shares) == 7
    assert sum(map(len, shares)) == 1000
    assert all(share.min() >= 0 and share.max() < 30 for share in shares)


def test_plan_is_uniform_over_maps_and_positions():
    counts = np.zeros((6, 20))
    source = rng()
    for _ in range(400):
        for index, share in enumerate(patches.plan(60, 6, 20, source)):
            np.add.at(counts[index], share, 1)
    expected = 400 * 60 / counts.size
    statistic = np.square(counts - expected).sum() / expected
    assert statistic < 119 + 4 * np.sqrt(2 * 119)  # chi-square with 119 degrees of freedom
    assert counts.sum() == 24_000


def test_plan_repeats_no_position_while_they_last():
    for share in patches.plan(200, 10, 100, rng()):
        assert len(set(share.tolist())) == len(share)


def test_plan_of_few_patches_leaves_maps_empty():
    shares = patches.plan(3, 50, 10, rng())
    assert sum(map(len, shares)) == 3
    assert sum(len(share) == 0 for share in shares) >= 47


def test_plan_repeats_positions_where_they_run_out():
    shares = patches.plan(100, 2, 5, rng())
    assert sum(map(len, shares)) == 100


@pytest.mark.parametrize(("shape", "size"), [((3, 7, 9), 3), ((2, 5, 5), 5), ((4, 6, 3), 1)])
def test_gather_slices(shape, size):
    maps = rng().normal(size=shape)
    columns = shape[2] - size + 1
    positions = np.arange((shape[1] - size + 1) * columns)[::-1]
    found = patches.gather(maps, size, positions)
    assert found.shape == (len(positions), shape[0], size, size)
    for patch, position in zip(found, positions, strict=True):
        row, column = position // columns, position % columns
        assert np.array_equal(patch, maps[:, row : row + size, column : column + size])


def test_gather_of_no_position_is_empty():
    found = patches.gather(np.ones((3, 5, 5)), 2, np.empty(0, np.int64))
    assert found.shape == (0, 3, 2, 2)


# ------------------------------------------------------------------------------ sampling stored maps


def stored(of, count=4):
    """Images of which every pixel is another, or maps; with their planes, as C x H x W each."""
    if of == "features":
        maps = rng().normal(size=(count, 5, 6, 7)).astype(np.float32)
        return maps, maps
    images = rng().integers(0, 256, (count, 6, 7, 3), dtype=np.uint8)
    if of == "images":
        return images, images.transpose(0, 3, 1, 2)
    luma = np.rint(0.299 * images[..., 0] + 0.587 * images[..., 1] + 0.114 * images[..., 2])
    return images, luma[:, None].astype(np.uint8)


@pytest.mark.parametrize("of", ["images", "grey", "features"])
@pytest.mark.parametrize("block", [1, 7, 20_000])
def test_a_sampler_cuts_what_was_planned_out_of_the_chosen_maps(of, block, monkeypatch):
    monkeypatch.setattr(patches, "BLOCK", block)
    maps, planes = stored(of)
    rows = np.array([0, 2, 3])
    sampler = patches.Sampler(maps, rng(), of, 3)
    assert sampler.shape == (planes.shape[1], 3, 3)
    blocks = list(sampler.blocks(rows, 25))
    expected = []
    for row, share in zip(rows, patches.plan(25, 3, 4 * 5, rng()), strict=True):
        for top, left in (divmod(position, 5) for position in share):
            expected.append(planes[row, :, top : top + 3, left : left + 3])
    np.testing.assert_array_equal(np.concatenate(blocks), np.stack(expected))
    assert len(blocks) == {1: 3, 7: 3, 20_000: 1}[block]
    assert blocks[0].dtype == maps.dtype


def test_maps_without_positions_give_patches_of_one():
    codes = rng().normal(size=(3, 4)).astype(np.float32)
    sampler = patches.Sampler(codes, rng(), "features", 1)
    (found,) = sampler.blocks(np.arange(3), 9)
    assert sampler.shape == (4, 1, 1)
    assert {tuple(patch.ravel()) for patch in found} <= {tuple(code) for code in codes}


def test_patches_larger_than_their_maps_are_refused():
    with pytest.raises(ValueError, match="7 x 7 do not fit into maps of 6 x 7"):
        patches.Sampler(stored("images")[0], rng(), "images", 7)


@pytest.mark.parametrize(("of", "scale"), [("images", 255), ("features", 1)])
def test_a_sampler_stores_patches_and_shows_what_is_learned_from_them(of, scale, tmp_path):
    maps, seen = stored(of)[0], []
    sampler = patches.Sampler(maps, rng(), of, 2, "channel", 0.3)
    with create_hdf5(tmp_path / "x.h5", "patches", {}) as file:
        sampler.store(file, "some", np.arange(4), 30, seen.append)
    with open_hdf5(tmp_path / "x.h5", "patches") as file:
        found = file["some"][...]
    again = patches.Sampler(maps, rng(), of, 2)
    np.testing.assert_array_equal(found, np.concatenate(list(again.blocks(np.arange(4), 30))))
    assert found.dtype == maps.dtype
    for patch, row in zip(found.astype(np.float64) / scale, np.concatenate(seen), strict=True):
        centred = (patch - patch.mean((1, 2), keepdims=True)).ravel()
        np.testing.assert_allclose(row, centred / max(0.3, np.sqrt(np.mean(centred**2))))


# ------------------------------------------------------------------------------ DC


@pytest.mark.parametrize("mode", patches.DC_MODES)
def test_remove_dc_subtracts_the_mean(mode):
    batch = rng().normal(5, 1, size=(4, 3, 2, 2))
    found = patches.remove_dc(batch, mode).reshape(batch.shape)
    for patch, result in zip(batch, found, strict=True):
        for channel in range(3):
            mean = {"patch": patch.mean(), "channel": patch[channel].mean(), "none": 0}[mode]
            assert np.allclose(result[channel], patch[channel] - mean)


@pytest.mark.parametrize("mode", patches.DC_MODES)
def test_dc_matrix_is_remove_dc(mode):
    batch = rng().normal(size=(9, 3, 4, 4))
    matrix = patches.dc_matrix((3, 4, 4), mode)
    assert np.allclose(batch.reshape(9, -1) @ matrix.T, patches.remove_dc(batch, mode))
    assert np.allclose(matrix @ matrix, matrix)


def test_unknown_dc_names_what_is_allowed():
    with pytest.raises(ValueError, match="'mean'; allowed: patch, channel, none"):
        patches.remove_dc(np.ones((1, 1, 2, 2)), "mean")


# ------------------------------------------------------------------------------ moments


def samples(count=500, dimensions=6):
    source = rng()
    return (
        source.normal(size=(count, dimensions)) @ source.normal(size=(dimensions, dimensions)) + 3
    )


def test_streamed_moments_are_those_of_the_whole():
    data, moments = samples(), Moments(6)
    for part in np.array_split(data, 7):
        moments.add(part.astype(np.float64))
    assert moments.count == 500
    assert np.allclose(moments.mean, data.mean(axis=0))
    assert np.allclose(moments.covariance, np.cov(data.T, bias=True))


def test_the_spectrum_is_that_of_the_covariance_and_not_negative():
    data, moments = samples(4), Moments(6)
    moments.add(data)
    expected = np.linalg.eigvalsh(np.cov(data.T, bias=True))[::-1]
    np.testing.assert_allclose(moments.spectrum, expected, atol=1e-9)
    assert (moments.spectrum >= 0).all()
    assert (moments.spectrum[3:] < 1e-9).all()  # four samples span three dimensions


def test_moments_of_float32_are_summed_in_float64():
    data = np.full((1000, 1), 16_777_217 / 16_777_216, np.float32) * np.float32(0.1)
    moments = Moments(1)
    moments.add(data)
    assert moments.total[0] == pytest.approx(float(data[0, 0]) * 1000, rel=1e-13)


# ------------------------------------------------------------------------------ contrast, images kept


def test_contrast_is_the_root_mean_square_but_at_least_the_floor():
    flat = rng().normal(size=(5, 12)) * np.array([1, 2, 0.01, 0, 3])[:, None]
    found = patches.normalise_contrast(flat, 0.1)
    for one, before in zip(found, flat, strict=True):
        scale = max(0.1, np.sqrt(np.mean(before**2)))
        assert np.allclose(one, before / scale)
    assert np.allclose(np.mean(found[[0, 1, 4]] ** 2, axis=1), 1)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("floor", [None, 0.0])
def test_without_a_floor_contrast_stays(floor):
    flat = rng().normal(size=(5, 12))
    assert np.array_equal(patches.normalise_contrast(flat, floor), flat)


# ------------------------------------------------------------------------------ whitening


def samples_without_dc(count=300):
    """Of 12 values that span 9 dimensions."""
    moments = Moments(12)
    source = rng()
    mixing = source.normal(size=(12, 12))
    data = source.normal(size=(count, 12)) @ mixing
    data = patches.remove_dc(data.reshape(count, 3, 2, 2), "channel")
    moments.add(data)
    return data - moments.mean, moments.covariance


def covariance_of(data):
    return data.T @ data / len(data)


@pytest.mark.parametrize("dimensions", [1, 4, 6, None])
def test_whitened_data_have_identity_covariance(dimensions):
    data = samples() - samples().mean(axis=0)
    white = data @ whitening_matrix(covariance_of(data), dimensions).T
    count = dimensions or 6
    assert white.shape == (500, count)
    assert np.allclose(covariance_of(white), np.eye(count))


def test_principal_components_come_largest_first_and_point_the_same_way():
    covariance = covariance_of(samples())
    matrix = whitening_matrix(covariance)
    spread = np.linalg.norm(matrix, axis=1) ** -2
    assert np.allclose(spread, np.linalg.eigvalsh(covariance)[::-1])
    assert np.allclose(matrix[:2], whitening_matrix(covariance, 2))
    assert all(row[np.abs(row).argmax()] > 0 for row in matrix)


def test_dimensions_that_do_not_vary_are_zero():
    data, covariance = samples_without_dc()
    matrix = whitening_matrix(covariance)
    assert matrix.shape == (12, 12)
    assert np.allclose(covariance_of(data @ matrix.T), np.diag([1] * 9 + [0] * 3))
    assert (matrix[9:] == 0).all()


def test_rows_below_the_floor_are_zero():
    covariance = np.diag([4.0, 1.0, 0.1, 0.01])
    matrix = whitening_matrix(covariance, floor=0.05)
    assert np.allclose(matrix, np.diag([0.5, 1, 0, 0]))
    assert np.allclose(whitening_matrix(covariance), np.diag([0.5, 1, 10**0.5, 10]))


def test_zca_is_the_symmetric_whitening():
    data = samples() - samples().mean(axis=0)
    covariance = covariance_of(data)
    matrix = whitening_matrix(covariance, kind="zca")
    assert np.allclose(matrix, matrix.T)
    assert (np.linalg.eigvalsh(matrix) > 0).all()
    assert np.allclose(matrix @ covariance @ matrix, np.eye(6))


def test_zca_leaves_out_what_does_not_vary_alone():
    data, covariance = samples_without_dc()
    matrix = whitening_matrix(covariance, kind="zca")
    free = patches.dc_matrix((3, 2, 2), "channel")
    assert np.allclose(matrix, matrix.T)
    assert np.allclose(covariance_of(data @ matrix.T), free)
    assert np.allclose(matrix @ free, matrix)


def test_zca_raises_small_eigenvalues_to_the_floor():
    matrix = whitening_matrix(np.diag([4.0, 1.0, 0.1, 0.01]), floor=0.25, kind="zca")
    assert np.allclose(matrix, np.diag([0.5, 1, 1, 1]))


@pytest.mark.parametrize("kind", ["pca", "zca"])
@pytest.mark.parametrize("floor", [0, 1e-6])
def test_whitening_of_nothing_is_nothing(kind, floor):
    assert (whitening_matrix(np.zeros((3, 3)), floor=floor, kind=kind) == 0).all()


def test_unknown_whitening_names_what_is_allowed():
    with pytest.raises(ValueError, match="'cholesky'; allowed: pca, zca"):
        whitening_matrix(np.eye(2), kind="cholesky")


def test_rank_counts_the_dimensions_that_vary():
    _, covariance = samples_without_dc()
    assert whitening.rank(np.linalg.eigvalsh(covariance)) == 9
    assert whitening.rank(np.array([4.0, 1.0, 0.1]), floor=0.1) == 2


# ------------------------------------------------------------------------------ projections

SHAPE, SIDE = (4, 3, 3), 7  # of a patch, of the maps
DC = {"full": ("none", "channel", "patch")}  # the other variants: none, channel
CASES = [(variant, dc) for variant in VARIANTS for dc in DC.get(variant, ("none", "channel"))]
projections = pytest.mark.parametrize(("variant", "dc"), CASES)
kinds = pytest.mark.parametrize("whitening", ["pca", "zca"])


def maps(count=60, dead=()):
    """Smooth maps whose channels go together; those of `dead` channels are constant."""
    white = rng().normal(size=(count, 4, SIDE + 2, SIDE + 2))
    smooth = sum(white[:, :, i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3)) / 3
    mixed = np.einsum("cd,ndhw->nchw", rng().normal(size=(4, 4)), smooth) + 0.5
    mixed[:, list(dead)] = 0.25
    return mixed


def every_patch(maps):
    """N x positions x C x k x k, in float64."""
    windows = np.lib.stride_tricks.sliding_window_view(maps, SHAPE[1:], axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(len(maps), -1, *SHAPE)


def fitted(variant, dc, contrast=None, dead=(), **options):
    """A projection and what it was fitted to: flat patches without DC, of this contrast."""
    flat = patches.remove_dc(every_patch(maps(dead=dead)).reshape(-1, *SHAPE), dc)
    flat = patches.normalise_contrast(flat, contrast)
    moments = Moments(36)
    moments.add(flat)
    options = {"groups": 2, "multiplier": 5} | options
    projection = Projection.fit(
        SHAPE, moments.mean, moments.covariance, dc, variant=variant, **options
    )
    return projection, flat


def parts(flat, variant):
    """Flat patches as the groups of a variant see them: groups x n x values."""
    count = {"channelwise": 4, "groups": 2}.get(variant, 1)
    return flat.reshape(len(flat), count, -1).transpose(1, 0, 2)


@projections
@pytest.mark.parametrize("dimensions", [None, 3])
def test_projected_patches_are_white_in_every_group(variant, dc, dimensions):
    projection, flat = fitted(variant, dc, dimensions=dimensions)
    found = projection.apply(flat)
    assert projection.groups == {"channelwise": 4, "groups": 2}.get(variant, 1) == len(found)
    rows = {"full": 36, "channelwise": 9, "groups": 18, "separable": 20}[variant]
    lost = {"none": 0, "patch": 1, "channel": {"channelwise": 1, "groups": 2, "full": 4}}[dc]
    if dc == "channel":
        lost = lost.get(variant, 0)  # five components of a channel have no DC
    assert found.shape == (projection.groups, len(flat), dimensions or rows - lost)
    for group in found:
        assert np.allclose(group.mean(axis=0), 0)
        assert np.allclose(covariance_of(group), np.eye(group.shape[1]))
    assert projection.span() is None


@projections
def test_zca_is_white_in_what_the_patches_span(variant, dc):
    projection, flat = fitted(variant, dc, whitening="zca")
    span = projection.span()
    for index, group in enumerate(projection.apply(flat)):
        expected = np.eye(group.shape[1]) if span is None else span[index]
        assert np.allclose(covariance_of(group), expected)
    rank = np.linalg.matrix_rank(projection.matrix)
    assert (span is None) == (rank == projection.matrix.shape[1]).all()


@projections
@kinds
def test_apply_is_the_centred_patch_times_the_matrix(variant, dc, whitening):
    projection, flat = fitted(variant, dc, whitening=whitening)
    found = projection.apply(flat[:50])
    own = parts(flat[:50], variant)
    centre = parts(flat, variant).mean(axis=1)
    if variant == "separable":
        own, centre = (
            np.einsum("ncp,cmp->ncm", v.reshape(-1, 4, 9), projection.depthwise).reshape(1, -1, 20)
            for v in (own, centre)
        )
        centre = centre[:, 0]
    for group in range(projection.groups):
        for row in range(50):
            expected = projection.matrix[group] @ (own[group, row] - centre[group])
            assert np.allclose(found[group, row], expected)


@projections
def test_single_precision_stays_single(variant, dc):
    projection, flat = fitted(variant, dc)
    found = projection.apply(flat[:50].astype(np.float32))
    assert np.allclose(found, projection.apply(flat[:50]), atol=1e-3)
    assert found.dtype == np.float32


@projections
@kinds
def test_linear_takes_patches_with_their_dc(variant, dc, whitening):
    projection, _ = fitted(variant, dc, whitening=whitening)
    batch = every_patch(maps(2)).reshape(-1, *SHAPE)
    found = projection.apply(patches.remove_dc(batch, dc))
    zero = projection.apply(np.zeros((1, 36)))
    raw = parts(batch.reshape(len(batch), -1), variant)
    assert np.allclose(found, raw @ projection.linear().transpose(0, 2, 1) + zero)


def test_separable_projections_start_from_the_components_of_each_channel():
    projection, flat = fitted("separable", "channel", multiplier=3)
    assert projection.depthwise.shape == (4, 3, 9)
    for channel in range(4):
        own = flat.reshape(-1, 4, 9)[:, channel]
        _, vectors = np.linalg.eigh(np.cov(own.T, bias=True))
        overlap = projection.depthwise[channel] @ vectors[:, ::-1][:, :3]
        assert np.allclose(np.abs(overlap), np.eye(3), atol=1e-6)


def test_a_separable_projection_of_all_components_is_a_full_one():
    projection, flat = fitted("separable", "none", multiplier=9)
    whole, _ = fitted("full", "none")
    assert np.allclose(np.abs(projection.apply(flat)), np.abs(whole.apply(flat)))


@projections
@kinds
def test_noise_counts_in_the_covariance(variant, dc, whitening):
    projection, flat = fitted(variant, dc, noise=0.7, whitening=whitening)
    free = patches.dc_matrix(SHAPE, dc)
    covariance = np.cov(flat.T, bias=True) + 0.49 * free @ free.T
    as_planned = Projection.fit(
        SHAPE,
        flat.mean(axis=0),
        covariance,
        dc,
        variant=variant,
        groups=2,
        multiplier=5,
        whitening=whitening,
    )
    assert np.allclose(projection.linear(), as_planned.linear())
    noise = projection.linear() * 0.7  # of white noise on the patch with its DC
    white = covariance_of(projection.apply(flat)[0]) + noise[0] @ noise[0].T
    expected = np.eye(len(white)) if projection.span() is None else projection.span()[0]
    assert np.allclose(white, expected)


@projections
@kinds
def test_channels_that_never_vary_give_zeros(variant, dc, whitening):
    projection, flat = fitted(variant, dc, dead=(1, 2, 3), whitening=whitening)
    found = projection.apply(flat)
    assert np.isfinite(projection.matrix).all()
    assert np.isfinite(projection.linear()).all()
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 30
    if variant == "channelwise":
        assert np.allclose(found[1:], 0)
        assert np.allclose(projection.span()[1:], 0)
    if dc != "patch":  # where a patch has one mean, the dead channels vary with the others
        dead = projection.linear() if variant != "channelwise" else projection.linear()[:1]
        assert np.allclose(dead[..., 9:], 0)


def test_a_patch_of_nothing_but_dead_channels_has_one_dimension_of_zeros():
    projection, flat = fitted("full", "channel", dead=(0, 1, 2, 3))
    assert np.allclose(projection.apply(flat), np.zeros((1, len(flat), 1)))
    assert np.allclose(projection.span(), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "whole"}, "variant is 'whole'; allowed: full, channelwise, groups, separable"),
        ({"variant": "groups", "groups": 3}, "3 groups do not divide 4 channels"),
        ({"variant": "channelwise", "dc": "patch"}, "dc patch couples the channels.*channelwise"),
        ({"variant": "groups", "dc": "patch"}, "dc patch couples the channels.*groups"),
        ({"variant": "separable", "dc": "patch"}, "dc patch couples the channels.*separable"),
        ({"dc": "row"}, "dc is 'row'; allowed: patch, channel, none"),
        ({"whitening": "cholesky"}, "whitening is 'cholesky'"),
    ],
)
def test_projections_that_make_no_sense_are_refused(options, message):
    options = {"dc": "none", "groups": 2, "noise": 0.1} | options
    with pytest.raises(ValueError, match=message):
        Projection.fit(SHAPE, np.zeros(36), np.eye(36), **options)


# ------------------------------------------------------------------------------ folding


@projections
@kinds
@pytest.mark.parametrize("contrast", [None, 0.4])
@pytest.mark.parametrize("dead", [(), (1, 2)])
def test_a_folded_field_responds_as_filters_on_whitened_patches(
    variant, dc, whitening, contrast, dead
):
    projection, _ = fitted(variant, dc, contrast, dead, whitening=whitening)
    draw, dimensions = rng(), projection.matrix.shape[1]
    filters = draw.normal(size=(projection.groups, 5, dimensions))
    pictures = maps(3, dead)
    pictures[0, :, :5, :5] = 0.3  # patches without any contrast
    folded = projection.fold(filters)
    arrays = {
        name: None if folded[name] is None else torch.from_numpy(folded[name])
        for name in ("filters", "bias", "depthwise", "patterns")
    }
    alphas = torch.ones(5 * projection.groups, dtype=torch.float64)
    field = FieldOfExperts(
        **arrays,
        alphas=alphas,
        expert="logistic",
        groups=folded["groups"],
        dc=dc,
        contrast=contrast,
        border="valid",
    )
    assert field.size == (3, 3)
    assert field.channels == 4
    found = field.responses(torch.from_numpy(pictures)).flatten(2).numpy()
    for picture, responses in zip(every_patch(pictures), found, strict=True):
        flat = patches.normalise_contrast(patches.remove_dc(picture, dc), contrast)
        expected = filters @ projection.apply(flat).transpose(0, 2, 1)  # G x K x positions
        assert np.isfinite(responses).all()
        assert np.allclose(responses, expected.reshape(responses.shape), atol=1e-8)


@projections
@kinds
def test_patterns_are_what_filters_respond_to_alone(variant, dc, whitening):
    projection, _ = fitted(variant, dc, whitening=whitening)
    dimensions = projection.matrix.shape[1]
    filters = np.stack([np.eye(dimensions)] * projection.groups)
    patterns = projection.fold(filters)["patterns"]
    assert patterns.shape == (projection.groups * dimensions, 4 // projection.groups, 3, 3)
    patterns = patterns.reshape(projection.groups, dimensions, -1)
    span = projection.span()
    responses = patterns @ projection.linear().transpose(0, 2, 1)
    expected = filters if span is None else span
    assert np.allclose(responses, expected, atol=1e-7)
    if variant != "separable":
        for group in range(projection.groups):
            inverse = np.linalg.pinv(projection.matrix[group])
            assert np.allclose(patterns[group], inverse.T)
