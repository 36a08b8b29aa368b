"""The work that is counted, against what torch counts of real networks and what lies in real files."""

import cost
import numpy as np
import pytest
import study_work
import torch
from study_work import Job, Work
from torch.utils.flop_counter import FlopCounterMode

from deep_restoration.files.hdf5 import create_dataset, create_hdf5, open_hdf5
from deep_restoration.inversion import prior_selection
from deep_restoration.inverters.chain import Chain
from deep_restoration.inverters.plan import plan_chain
from deep_restoration.networks import graph, sources
from deep_restoration.priors import score_matching
from deep_restoration.priors.borders import BORDERS
from deep_restoration.priors.experts import EXPERTS
from deep_restoration.priors.field import FieldOfExperts
from deep_restoration.priors.ridge import Ridge
from deep_restoration.priors.spectral import Spectral
from deep_restoration.priors.unet import Gate, Network, UNet

EVERYTHING = study_work.ROOT / "config" / "everything.yaml"
SIZE, LAYERS = 96, ("conv2", "pool5")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    steps = sources.steps_of("alexnet_lrn")
    return graph.Network(steps, LAYERS).eval().requires_grad_(False)


def flops_of(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def test_a_forward_pass_is_what_torch_counts(network):
    images = torch.rand(2, 3, SIZE, SIZE)
    found = study_work.forward("alexnet_lrn", SIZE, LAYERS, "pool5")
    assert found.times(2).flops == flops_of(lambda: network(images))
    # The first convolution: 96 filters of 11 x 11 x 3 at 22 x 22 positions, a multiplication and an addition.
    first = study_work.forward("alexnet_lrn", SIZE, ("conv1",), "conv1")
    assert first.flops == 2 * 96 * 11 * 11 * 3 * 22 * 22
    assert first.memory == 4 * (3 * SIZE**2 + 96 * 22 * 22)


def test_a_layer_is_counted_up_to_itself(network):
    shallow = study_work.forward("alexnet_lrn", SIZE, LAYERS, "conv2")
    cut = graph.Network(network.steps, ["conv2"])
    assert shallow.flops == flops_of(lambda: cut(torch.rand(1, 3, SIZE, SIZE)))


def test_backward_to_the_image_costs_as_much_as_forward(network):
    images = torch.rand(1, 3, SIZE, SIZE, requires_grad=True)

    found = study_work.forward("alexnet_lrn", SIZE, LAYERS, "pool5")
    # The gradient of the first convolution, folded, has some products with zeros (12 rows for 11).
    counted = flops_of(lambda: network(images)["pool5"].sum().backward())
    assert 2 * found.flops < counted < 2.04 * found.flops


@pytest.mark.parametrize("border", BORDERS)
def test_the_energy_of_experts_and_its_gradient_are_what_torch_counts(border):
    entry = {"method": "patch", "filters": 5, "variant": "full"}
    prior = FieldOfExperts(
        torch.rand(5, 3, 4, 4), torch.rand(5), torch.ones(5), "student_t", border=border
    )
    image = torch.rand(1, 3, 20, 24, requires_grad=True)
    found = study_work.energy(entry, (3, 4, 4), (3, 20, 24), border=border)
    counted = flops_of(lambda: prior.energy(image).sum().backward())
    assert counted == found.flops


def test_the_energy_of_a_spectrum_and_its_gradient_are_what_torch_counts():
    parts = (torch.zeros(3), torch.eye(3), torch.ones(3, 20, 24))
    prior, image = Spectral(*parts, 0.1), torch.rand(1, 3, 20, 24, requires_grad=True)
    found = study_work.energy({"method": "wiener"}, (3, 0, 0), (3, 20, 24))
    assert flops_of(lambda: prior.energy(image).sum().backward()) == found.flops


@pytest.mark.parametrize(("form", "passes"), [("direct", 1), ("gradient_step", 2)])
def test_a_u_net_and_its_gradient_are_what_torch_counts(form, passes):
    """Two products per value with each base; of an energy's gradient the way back, too."""
    entry = {"method": "unet", "form": form, "widths": [8, 12], "blocks": 1, "fold": 2}
    parts = (torch.zeros(3), torch.eye(3), torch.ones(3, 24, 32))
    gate = Gate(torch.tensor([0.01, 2.0]), torch.ones(2))
    prior = UNet(Spectral(*parts, 0.1), Network(3, [8, 12], 1, 2), gate, form, 0.1)
    found = study_work.energy(entry, (3, 0, 0), (3, 24, 32))
    counted = flops_of(lambda: prior.gradient(torch.rand(1, 3, 24, 32)))
    assert 0.9 * found.flops < counted < 1.1 * found.flops
    network = study_work._unet(3, 24, 32, (8, 12), 1, 2)
    assert found.flops > passes * network.flops > 0
    assert network.disk == sum(4 * x.numel() for x in prior.correct.network.state_dict().values())


def test_a_ridge_energy_and_its_gradient_are_what_torch_counts():
    filters, powers = torch.rand(6, 3, 5, 5), torch.zeros(2, 3)
    prior = Ridge(filters, torch.zeros(6), *torch.zeros(2, 3, 3), powers, 0.1, 0.1)
    image = torch.rand(1, 3, 20, 24, requires_grad=True)
    entry = {"method": "ridge", "filters": 6, "size": 5}
    found = study_work.energy(entry, (3, 0, 0), (3, 20, 24))
    assert flops_of(lambda: prior.energy(image).sum().backward()) == found.flops


def test_a_step_of_score_matching_is_five_products():
    data, filters = torch.rand(1, 30, 7), torch.rand(1, 11, 7)
    expert = EXPERTS["student_t"]
    counted = flops_of(lambda: score_matching.gradient(data, filters, torch.ones(1, 11), expert))
    entry = {"method": "patch", "patches": "p", "filters": 11, "batch": 30, "steps": 1000}
    plan = {"patches": {"p": {"count": 4000}}}
    longer = {**entry, "steps": 2000}
    works = [study_work.training(plan, e, (7, 1, 1), 0) for e in (entry, longer)]
    held_out = 4 * 200 * 11 * 7 / 100  # two products of 200 patches, every hundredth step
    assert works[1].flops - works[0].flops == pytest.approx(1000 * (counted + held_out))


def test_a_chain_of_modules_is_what_torch_counts():
    geometry = {
        "image": ([3, 24, 24], 1, "input", 1),
        "conv1": ([8, 12, 12], 2, "Conv2d", 3),
        "conv2": ([12, 6, 6], 4, "Conv2d", 7),
    }
    geometry = {
        name: {
            "shape": shape,
            "stride": stride,
            "receptive_field": field,
            "operation": operation,
            "waypoint": True,
        }
        for name, (shape, stride, operation, field) in geometry.items()
    }
    chain = Chain(plan_chain(geometry, "conv2", 8))
    maps = torch.rand(1, 12, 6, 6)
    found = study_work.module_work(chain, maps)
    assert found.flops == flops_of(lambda: chain(maps)) > 0
    assert found.disk == sum(4 * value.numel() for value in chain.state_dict().values())


@pytest.mark.parametrize(("count", "sample"), [(1, (3, 8)), (24, (128, 128, 3)), (70, (64, 64, 3))])
def test_the_size_of_a_dataset_is_that_in_the_file(count, sample, tmp_path):
    with create_hdf5(tmp_path / "a.h5", "images", {}) as file:
        data = create_dataset(file, "images", (count, *sample), np.float32, "none")
        data[...] = np.ones((count, *sample), np.float32)  # a scalar takes h5py seconds
    with open_hdf5(tmp_path / "a.h5", "images") as file:
        stored = file["images"].id.get_storage_size()
    counted = study_work.dataset_bytes(count, *sample)
    assert stored == counted
    assert 0 <= (tmp_path / "a.h5").stat().st_size - counted < 10_000


@pytest.mark.parametrize("layers", [1, 2, 3, 6])
def test_the_sets_of_added_priors_are_at_most_those_counted(layers):
    names, weights = [f"l{i}" for i in range(layers)], [0.1, 1.0]
    asked = set()

    def score(chosen):  # the middle layer helps most, then the deepest: all orders differ
        asked.add(prior_selection.name_of(chosen))
        worth = {name: index + 10 * (index == layers // 2) for index, name in enumerate(names)}
        return -sum(worth[name] for name in chosen)

    orders = prior_selection.add(names, weights, score)
    tested = {prior_selection.name_of(step.chosen) for steps in orders.values() for step in steps}
    trials, tests = study_work.sets_to_try(layers, len(weights))
    assert 0.5 * trials < len(asked) <= trials
    assert len(tested) <= tests


def test_every_job_of_a_study_is_counted():
    plan = study_work.study(EVERYTHING)
    jobs = list(study_work.Counter(plan, 1500, 8)())
    names = [(job.rule, job.name) for job in jobs]
    assert len(set(names)) == len(names)
    layers, recipes = ["conv1", "conv2", "conv5"], plan["recipes"]
    wanted = {f"alexnet/{layer}/{recipe}" for layer in layers for recipe in recipes}
    assert {name for rule, name in names if rule == "reconstruct"} == wanted
    works = {(job.rule, job.name): job.work for job in jobs}
    deep, shallow = (works["reconstruct", f"alexnet/{layer}/tv"] for layer in ("conv5", "conv1"))
    assert deep.flops > shallow.flops > 0
    assert deep.disk == shallow.disk == study_work.dataset_bytes(8, 96, 96, 3)


def test_an_annealing_counts_its_gradients_and_its_surrogates():
    plan = study_work.study(EVERYTHING)
    work = {(job.rule, job.name): job.work for job in study_work.Counter(plan, 1500, 8)()}
    key = "alexnet/conv2/annealed"
    anneal = plan["recipes"]["annealed"]["anneal"]
    plan["recipes"]["annealed"]["anneal"] = anneal | {"samples": 3, "shrink": 4}
    more = {(job.rule, job.name): job.work for job in study_work.Counter(plan, 1500, 8)()}
    counter = study_work.Classifier(study_work.Counter(plan, 1500, 8), "alexnet")
    gradients = 2 * 8 * anneal["levels"] * anneal["steps"]  # of two further samples of eight images
    least = gradients * counter.iteration("conv2").flops
    assert (
        least < more["reconstruct", key].flops - work["reconstruct", key].flops < 1.3 * least
    )  # the denoiser
    # 14 passes of 64 images: conv2 has so many positions that no more are needed.
    once = counter.forward("conv2").flops
    assert work["fit_surrogates", key].flops == pytest.approx(14 * 64 * once)
    # One that differs in what its surrogates do not depend on shares them.
    recipes = plan["recipes"] | {"annealed_3": plan["recipes"]["annealed"]}
    jobs = study_work.Counter({**plan, "recipes": recipes}, 1500, 8)()
    fitted = [job.name for job in jobs if job.rule == "fit_surrogates"]
    assert key in fitted
    assert not [name for name in fitted if name.endswith("annealed_3")]
    # Four held-out images, each annealed like one of the eight.
    assert ("learn_shrinkage", key) not in work
    assert more["learn_shrinkage", key].flops == pytest.approx(
        4 * (once + counter.annealing("conv2", anneal | {"samples": 3}).flops)
    )


def test_priors_cost_in_the_phases_that_have_them_alone():
    plan = study_work.study(EVERYTHING)
    counter = study_work.Classifier(study_work.Counter(plan, 1500, 8), "alexnet")

    def update(*phases):
        phases = [{"iterations": n, "rate": 1.0, "priors": priors} for n, priors in phases]
        return counter.plan("conv2", plan["recipes"]["foe"] | {"phases": phases})

    full, bare = update((7, True)), update((7, False))
    assert full.flops > bare.flops == counter.iteration("conv2").flops
    mixed = update((30, False), (10, True))
    assert mixed.flops == pytest.approx(0.75 * bare.flops + 0.25 * full.flops)
    assert mixed.memory == full.memory


# ------------------------------------------------------------------------------ measurements and tables


def test_iterations_of_images_that_left():
    log = "00:01 a.jpg is done at iteration 20\n00:02 b.jpg is done at iteration 60\n"
    assert cost.iterations_done(log, 2, 100) == (0.4, 0.6)
    assert cost.iterations_done(log, 4, 100) == (0.7, 1.0)


@pytest.mark.parametrize(("seconds", "look"), [(3.0, 3.0), (45.9, 16), (46.1, 46), (80, 76)])
def test_the_last_look_at_a_job(seconds, look):
    assert cost.last_look(seconds) == look


def test_rates_are_found_again():
    machine = cost.Machine(2e-11, 2e-11, 5e-10, 1e-3)
    draw = np.random.default_rng(0)
    works = [Work(*(draw.uniform(1, 9, 3) * (1e12, 1e10, 1e3))) for _ in range(12)]
    found = cost.fit_machine([(work, machine.seconds(work)) for work in works], 50)
    assert found == pytest.approx(machine)


def test_a_rule_of_small_jobs_has_no_factor_of_its_own():
    machine = cost.Machine(1e-9, 1e-9, 0.0, 0.0)
    small, large = Work(flops=1e8), Work(flops=1e11)
    nothing = cost.fit_rule([(small, cost.Measured(9.0, 1e8))], machine, 4.0)
    assert (nothing.factor, nothing.tells) == (1.0, False)
    something = cost.fit_rule([(large, cost.Measured(204.0, 1e8))], machine, 4.0)
    assert (something.factor, something.tells) == (pytest.approx(2.0), True)


PLAN = """Building DAG of jobs...
Job stats:
job              count
-------------  -------
image_patches        1
feature_patches      2
total                3

"""


def test_jobs_are_compared_with_the_plan():
    planned = cost.plan_counts(PLAN)
    assert planned == {"image_patches": 1, "feature_patches": 2}
    jobs = [Job("patches", name, Work()) for name in ("a", "b/n/l", "b/n/m")]
    cost.check_counts(jobs, planned)
    with pytest.raises(ValueError, match="patches: 2 jobs counted, 3 planned"):
        cost.check_counts(jobs[1:], planned)
    with pytest.raises(ValueError, match="snakemake -n"):
        cost.plan_counts("nothing to be done")
