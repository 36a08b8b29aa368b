"""Rates by iteration, plateaus, and images that leave the batch."""

import math

import pytest
import torch

from deep_restoration.files.tensors import load_tensors
from deep_restoration.inversion import optimisers, preimage
from deep_restoration.inversion.data_terms import Matching
from deep_restoration.inversion.preimage import Plan, Term
from deep_restoration.inversion.schedules import Phase, Plateau, begins_run, moments
from deep_restoration.priors.base import Calibrated, Prior
from deep_restoration.priors.field import FieldOfExperts
from deep_restoration.priors.norms import ColourNorm, DistanceTo
from deep_restoration.priors.total_variation import TotalVariation
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError
from deep_restoration.runtime.rows import Rows

MEAN = torch.tensor([0.45, 0.5, 0.4]).view(1, 3, 1, 1)
SIZE = 21

# ------------------------------------------------------------------------------ rates


def test_rates_are_their_literal_transcription():
    assert [Phase(3, 2.0).rate_at(i) for i in range(3)] == [2.0, 2.0, 2.0]
    warm = Phase(6, 8.0, warmup=4)
    assert [warm.rate_at(i) for i in range(6)] == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0]
    both = Phase(6, 8.0, decay=True, warmup=2)
    cosines = [1, math.sqrt(0.5), 0, -math.sqrt(0.5)]
    expected = [4.0, 8.0] + [8 * (0.01 + 0.99 * (1 + cosine) / 2) for cosine in cosines]
    assert [both.rate_at(i) for i in range(6)] == pytest.approx(expected)
    assert [Phase(2, 8.0, decay=True, warmup=2).rate_at(i) for i in range(2)] == [4.0, 8.0]


def test_phases_that_agree_about_jitter_and_priors_are_one_run():
    kinds = [
        (True, False),
        (True, False),
        (False, False),
        (False, True),
        (False, True),
        (True, True),
    ]
    phases = [Phase(2, rate, jitter=j, priors=p) for rate, (j, p) in enumerate(kinds, 1)]
    assert [begins_run(phases, i) for i in range(6)] == [True, False, True, True, False, True]
    found = [tuple(moment) for moment in moments(phases)]
    expected = [(0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 1, 4), (2, 0, 1), (2, 1, 2)]
    expected += [(3, 0, 1), (3, 1, 2), (4, 0, 3), (4, 1, 4), (5, 0, 1), (5, 1, 2)]
    assert found == expected
    assert moments([]) == []


def test_the_optimiser_gets_the_rates_of_the_phase(reconstruct, monkeypatch):
    seen = []

    class Recording(optimisers.Adam):
        def step(self, u, gradient, rate, count):
            seen.append(rate.flatten().tolist())
            super().step(u, gradient, rate, count)

    monkeypatch.setitem(optimisers.OPTIMISERS, "adam", Recording)
    phases = [Phase(5, 3.0, warmup=3), Phase(4, 1.0, decay=True, warmup=1)]
    reconstruct(phases)
    expected = [[phase.rate_at(i)] * 3 for phase in phases for i in range(phase.iterations)]
    assert seen == [pytest.approx(rates) for rates in expected]


# ------------------------------------------------------------------------------ plateaus


def literal_end(values, change, over, sampled):
    """The first iteration at which one image's objectives have reached their plateau."""
    width = over if sampled else 1
    for i in range(len(values)):
        if i + 1 < over + width:
            continue
        now = sum(values[i + 1 - width : i + 1]) / width
        before = sum(values[i + 1 - width - over : i + 1 - over]) / width
        if before - now < change * abs(before):
            return i
    return None


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("over", [1, 3, 10])
def test_plateaus_are_their_literal_transcription(over, sampled):
    draw = torch.Generator().manual_seed(0)
    steps = torch.arange(80.0)
    curves = torch.stack(
        [torch.exp(-steps / 9) + 0.5, torch.exp(-steps / 25) - 2, 1 - steps / 100, 5 - 0 * steps]
    )
    curves[0] += 0.01 * torch.randn(80, generator=draw)
    plateau = Plateau(0.02, over)
    history, found = plateau.history(4, sampled, "cpu"), [None] * 4
    for i in range(80):
        done = plateau.reached(history, curves[:, i])
        found = [i if f is None and d else f for f, d in zip(found, done.tolist(), strict=True)]
    assert found == [literal_end(curve, 0.02, over, sampled) for curve in curves.double().tolist()]
    assert found[3] == (2 * over - 1 if sampled else over)


def test_an_objective_that_is_not_finite_is_on_no_plateau():
    plateau = Plateau(0.5, 2)
    history = plateau.history(3, False, "cpu")
    for _ in range(6):
        done = plateau.reached(history, torch.tensor([math.nan, math.inf, 1.0]))
    assert done.tolist() == [False, False, True]


# ------------------------------------------------------------------------------ rows


def test_rows_that_leave_keep_what_they_had_and_come_back():
    rows = Rows(a=torch.zeros(4, 2), b=torch.arange(4.0))
    rows["a"].add_(1)
    rows.choose(torch.tensor([1, 3]))
    rows["a"].add_(1)
    assert rows["b"].tolist() == [1, 3]
    rows.choose(torch.tensor([3]))
    rows["a"].add_(1)
    saved = {name: value.clone() for name, value in rows.tensors().items()}
    assert saved["a"][:, 0].tolist() == [1, 2, 1, 3]
    rows.choose(rows.everyone)
    assert rows["a"][:, 0].tolist() == [1, 2, 1, 3]
    other = Rows(a=torch.zeros(4, 2), b=torch.zeros(4))
    other.load(saved)
    assert (other.active.tolist(), other["a"].tolist()) == ([3], [[3, 3]])
    other.choose(torch.tensor([], dtype=torch.long))
    assert (len(other["a"]), other.gather("b").tolist()) == (0, [0, 1, 2, 3])


# ------------------------------------------------------------------------------ leaving


@pytest.fixture(scope="module")
def pictures(pictures):
    """Of three contrasts, so that they are done at different times."""
    return 0.5 + (pictures - 0.5) * torch.tensor([1.0, 0.1, 0.4]).view(3, 1, 1, 1)


def sampling():
    draw = torch.Generator().manual_seed(5)
    filters = torch.randn(6, 3, 4, 4, generator=draw)
    field = FieldOfExperts(
        filters, torch.zeros(6), torch.ones(6), "student_t", mean=1.0, spread=2.0, position_stride=3
    )
    return Calibrated(field)


class Seldom(Checkpoint):
    """Saves in every fifth iteration."""

    calls = 0

    def due(self):
        self.calls += 1
        return self.calls % 5 == 0


@pytest.fixture
def reconstruct(network, pictures, tmp_path):
    def run(
        phases,
        rows=(0, 1, 2),
        interval=1e9,
        near=False,
        terms=None,
        kind=Checkpoint,
        **changes,
    ):
        rows = list(rows)
        names = ["abc"[row] for row in rows]
        optimiser = changes.pop("optimiser", "adam")
        jitter = 4 if any(phase.jitter for phase in phases) else 1
        plan = Plan(20.0, optimiser, phases, jitter, **{"box": True, **changes})
        terms = {"tv": Term(1.0, TotalVariation(V=12.31))} if terms is None else terms
        if near:
            terms["inverter"] = Term(1e-4, DistanceTo(pictures.flip(3)[rows]))
        data = Matching("conv2", network(pictures[rows])["conv2"], names)
        checkpoint = kind(tmp_path / "x", ["key", rows], interval)
        truth = pictures[rows]
        return preimage.reconstruct(
            network, data, names, SIZE, MEAN, terms, plan, 0, checkpoint, truth=truth
        )

    return run


def ends(text):
    """Image -> iterations at which it was done, from the log."""
    found = {}
    for line in text.splitlines():
        if " is done at iteration " in line:
            name, iteration = line.split(" is done at iteration ")
            found.setdefault(name.split()[-1], []).append(int(iteration))
    return found


def total_of(result):
    return {row[0]: row[2] for row in result.trace if row[1] == "total"}


RATES = {"adam": 6.0, "lbfgs": 10.0, "adagrad2016": 50.0, "momentum": 2e-5}
WAYS = {name: {"optimiser": name} for name in sorted(RATES)}
WAYS["fourier"] = {"optimiser": "adam", "parametrisation": "fourier"}


def study_of(way):
    """Phases and more; short for those that soon make much of single precision's rounding."""
    optimiser = WAYS[way]["optimiser"]
    rate, short = RATES[optimiser], optimiser in ("lbfgs", "adagrad2016")
    phases = [Phase(25 if short else 80, rate), Phase(20 if short else 60, rate / 3, warmup=3)]
    plateau = Plateau(0.2, 4) if short else Plateau(0.03, 6)
    return phases, {"near": True, "converged": plateau, **WAYS[way]}


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_that_images_leave_gives_what_single_runs_give(way, reconstruct, caplog):
    caplog.set_level("INFO")
    phases, more = study_of(way)
    together = reconstruct(phases, **more)
    left = ends(caplog.text)
    assert len({iterations[0] for iterations in left.values()}) > 1
    caplog.clear()
    singles = [reconstruct(phases, [row], **more) for row in range(3)]
    assert ends(caplog.text) == left
    for row, alone in enumerate(singles):
        assert (alone.images[0] - together.images[row]).abs().max() < 5e-4
    # Of every iteration in which an image was at work there is the mean over all of them.
    curves = [total_of(alone) for alone in singles]
    for iteration, value in total_of(together).items():
        last = [max(i for i in curve if i <= iteration) for curve in curves]
        mean = sum(curve[i] for curve, i in zip(curves, last, strict=True)) / 3
        assert value == pytest.approx(mean, rel=2e-3)
    assert set(total_of(together)) == set().union(*curves)


@pytest.mark.parametrize("kind", ["jitter", "sampled"])
def test_objectives_that_move_by_chance_are_judged_by_their_means(kind, reconstruct, caplog):
    caplog.set_level("INFO")
    terms = {"ica": Term(0.5, sampling())} if kind == "sampled" else {}
    phases = [Phase(70, 8.0, jitter=kind == "jitter", decay=True), Phase(30, 2.0, jitter=True)]
    more = {"terms": terms, "converged": Plateau(0.05, 6)}
    together = reconstruct(phases, **more)
    left = ends(caplog.text)
    assert min(min(iterations) for iterations in left.values()) > 11  # twice as many as `over`
    for row in range(3):
        alone = reconstruct(phases, [row], **more)
        assert (alone.images[0] - together.images[row]).abs().max() < 5e-4


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_run_that_images_leave_ends_as_an_unbroken_one(
    way, reconstruct, stopping_after, caplog
):
    caplog.set_level("INFO")
    phases, more = study_of(way)
    whole = reconstruct(phases, **more)
    first = sorted(iterations[0] for iterations in ends(caplog.text).values())
    assert first[0] < first[-1]
    for stop in (first[0] + 1, first[1] - first[0] + 5):  # one has left; two, or all
        with stopping_after(max(1, stop)):
            reconstruct(phases, kind=Seldom, **more)
    rest = reconstruct(phases, **more)
    assert torch.equal(rest.images, whole.images)
    assert [tuple(row[:3]) for row in rest.trace] == [row[:3] for row in whole.trace]


def test_images_that_are_done_cost_nothing_and_keep_what_they_are(
    reconstruct, network, monkeypatch
):
    seen = []
    forward = type(network).forward

    def watched(self, x):
        seen.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(type(network), "forward", watched)
    result = reconstruct([Phase(200, 6.0)], converged=Plateau(0.05, 5))
    batches = seen[1:-1]  # without the targets, and the error at the end
    assert batches == sorted(batches, reverse=True)
    assert set(batches) >= {3, 1}
    assert len(batches) == len(total_of(result)) < 200
    assert result.trace[-1][:2] == (len(batches), "ssim")


def test_the_last_values_are_those_of_the_images(reconstruct, network, pictures):
    result = reconstruct([Phase(200, 6.0)], converged=Plateau(0.05, 5))
    data = Matching("conv2", network(pictures)["conv2"], "abc")
    expected = data.energy(network(result.images)).mean().item()
    told = {row[1]: row[2] for row in result.trace}
    assert told["data"] == pytest.approx(expected, rel=1e-3)
    assert told["image"] == pytest.approx((result.images - pictures).square().mean().item())


def test_without_a_plateau_nothing_leaves(reconstruct, caplog):
    caplog.set_level("INFO")
    result = reconstruct([Phase(30, 6.0)])
    assert len(total_of(result)) == 30
    assert not ends(caplog.text)


def test_no_image_is_done_while_its_rate_rises(reconstruct, caplog):
    caplog.set_level("INFO")
    reconstruct([Phase(60, 1e-3, warmup=40)], converged=Plateau(0.5, 4))
    assert {i for iterations in ends(caplog.text).values() for i in iterations} == {45}


# ------------------------------------------------------------------------------ divergence


@pytest.mark.parametrize("kind", [Checkpoint, Seldom])
def test_a_divergence_leaves_the_last_good_state(kind, reconstruct, tmp_path):
    class Rising(Prior):
        """Of the second image, steeper with every call."""

        calls = 0

        def energy(self, x, generator=None):
            self.calls += 1
            steep = torch.tensor([0.0, 1.0, 0.0][: len(x)]) * (10.0 ** (self.calls - 10))
            return x.square().flatten(1).mean(1) * steep

    terms = {"r": Term(1.0, ColourNorm(MEAN)), "rising": Term(1.0, Rising())}
    with pytest.raises(DivergedError) as error:
        reconstruct([Phase(90, 3.0)], terms=terms, kind=kind)
    words = str(error.value)
    assert "of b at iteration" in words
    assert f"the last good state is in {tmp_path / 'x.checkpoint'}" in words
    iteration = int(words.split("iteration ")[1].split()[0])
    tensors, values = load_tensors(tmp_path / "x.checkpoint", "checkpoint")
    assert values["iteration"] == iteration - 1
    assert all(t.isfinite().all() for n, t in tensors.items() if n not in ("draws", "measured"))
    assert torch.equal(tensors["variable"][1], tensors["anchor"][1])
    # The other images are where the iterations before have brought them.
    (tmp_path / "x.checkpoint").unlink()
    calm = {"r": Term(1.0, ColourNorm(MEAN))}
    expected = reconstruct([Phase(iteration - 1, 3.0)], terms=calm).images
    found = (MEAN + tensors["variable"] / 255).clamp(0, 1)
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], rtol=0, atol=1e-3)


def test_what_has_diverged_says_so_again_until_its_state_is_removed(reconstruct, tmp_path):
    for _ in range(2):
        with pytest.raises(DivergedError, match="last good state") as error:
            reconstruct([Phase(1, 1e30)], terms={}, box=False)
    assert "diverged at iteration 1" in str(error.value)
    tensors, values = load_tensors(tmp_path / "x.checkpoint", "checkpoint")
    assert tensors["variable"].isfinite().all()
    assert values["diverged"] == str(error.value)


def test_trials_of_a_search_leave_no_state(reconstruct, tmp_path):
    with pytest.raises(DivergedError) as error:
        reconstruct([Phase(1, 1e30)], terms={}, box=False, interval=math.inf)
    assert "state" not in str(error.value)
    assert not (tmp_path / "x.checkpoint").exists()
