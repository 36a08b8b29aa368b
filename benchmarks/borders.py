"""Fields of experts with a reflected border against whole patches alone: images, noise, time.

    python benchmarks/borders.py images WEIGHTS TRAIN TEST
    python benchmarks/borders.py features WEIGHTS TRAIN TEST
    python benchmarks/borders.py denoising TRAIN TEST
    python benchmarks/borders.py speed

WEIGHTS are those of torchvision's squeezenet1_0; TRAIN and TEST are folders of photographs. Priors are
trained with the settings of config/everything.yaml and config/denoising.yaml, once; both borders use the same
one. `images` reconstructs test photographs from three layers under a prior of images; `features` under total
variation of one weight and a prior of the maps of a layer in between. Weights are tuned for each border on
other training photographs, on one grid, which grows until it brackets the best of both. Errors are given by
region: the outermost 4 pixels, the outermost 8, and what is inside of these; ratios are of means over
images, reflect by valid, with paired bootstrap intervals of 95 %. `speed`: CPU milliseconds of an energy
and its gradient, medians of rounds in which both are measured side by side.
"""

import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from deep_restoration.data import images, inventory, patches, splits
from deep_restoration.evaluation import intervals, metrics
from deep_restoration.files.hdf5 import create_hdf5, write_array
from deep_restoration.inversion import preimage
from deep_restoration.inversion.data_terms import Matching
from deep_restoration.inversion.preimage import Plan, Term
from deep_restoration.inversion.schedules import Phase
from deep_restoration.networks import graph, sources
from deep_restoration.networks.weights import read_weights
from deep_restoration.priors import borders, denoising, material, training
from deep_restoration.priors.base import Calibrated
from deep_restoration.priors.field import FieldOfExperts
from deep_restoration.priors.registry import load
from deep_restoration.priors.total_variation import TotalVariation
from deep_restoration.runtime import devices
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.statistics.moments import Moments
from deep_restoration.study import schema

SIZE, LEARNED, TUNED, TESTED, ITERATIONS = 96, 400, 4, 12, 150
SHARE, NEVER = 0.1, Checkpoint("/nonexistent/never", [], 1e9)
VARIATION = Term(1e-4, TotalVariation())
BEHIND = {
    "features.4": "features.7",
    "features.7": "features.12",
}  # layer of a prior, of the target
REGIONS = ("frame 4", "frame 8", "inside", "whole")


# ------------------------------------------------------------------------------ priors


def photographs(folder: str, count: int, size: int) -> np.ndarray:
    """Photographs of a folder, evenly spaced: N x size x size x 3, uint8."""
    names = splits.evenly_spaced(inventory.image_files(folder), 2 * count)
    found = (pixels for _, pixels in images.folder_images(folder, names, size, 2))
    kept = [pixels for pixels in found if not isinstance(pixels, images.UnusableImage)]
    return np.stack(kept[:count])


def prior_of(stored: np.ndarray, size: int, dc: str, folder: Path, **settings) -> Path:
    """The file of a prior trained on maps as they are stored."""
    of = settings["of"]
    stage, folder = "features" if of == "features" else "images", Path(folder)
    with create_hdf5(folder / "maps.h5", stage, {}) as file:
        write_array(file, stage, stored, "units")
    *parts, scale = (
        *material.load_maps(folder / "maps.h5", of, SHARE),
        1 if of == "features" else 255,
    )
    rng, positions = np.random.default_rng(0), math.prod(n - size + 1 for n in parts[0].shape[2:])
    moments = Moments(parts[0].shape[1] * size**2)
    with create_hdf5(folder / "patches.h5", "patches", {}) as file:
        for name, maps, count in zip(("patches", "held_out"), parts, (50_000, 5_000), strict=True):
            chosen = zip(maps, patches.plan(count, len(maps), positions, rng), strict=True)
            sampled = np.concatenate([patches.gather(x, size, places) for x, places in chosen])
            write_array(file, name, sampled, "units")
            if name == "patches":
                moments.add(patches.remove_dc(sampled / np.float64(scale), dc))
        file.attrs.update({"dc": dc, "contrast": 0.0, "scale": scale})
        write_array(file, "mean", moments.mean)
        write_array(file, "covariance", moments.covariance)
    plan = {"seed": 0, "held_out": SHARE, **schema.filled("priors", settings)}
    output = folder / f"{size}.{settings.get('method', 'patch')}.safetensors"
    prior, _ = training.train(plan, folder / "maps.h5", folder / "patches.h5", output, [])
    prior.save(output, {})
    for border, (mean, spread) in prior.calibration.items():
        print(f"{border}: energy per position {mean:.4f}, spread {spread:.4f}", flush=True)
    return output


# ------------------------------------------------------------------------------ reconstruction


def reconstructing(weights: str, train: str, test: str):
    """A function that reconstructs test or tuning photographs, and training images."""
    with torch.device("meta"):
        steps = sources.steps_of("squeezenet1_0", sources.build("squeezenet1_0"))
    state = read_weights(weights)
    pixels = photographs(train, LEARNED + TUNED, SIZE)
    sets = {"tuning": pixels[:TUNED], "test": photographs(test, TESTED, SIZE)}

    def network(*names: str) -> graph.Network:
        found = graph.Network(steps, names, sources.IMAGENET_MEAN, sources.IMAGENET_STD)
        return found.load(state).to(memory_format=torch.channels_last)

    def reconstruct(kind: str, layer: str, terms: dict[str, Term]) -> dict[str, np.ndarray]:
        """Errors by image."""
        inside = [term.layer for term in terms.values() if term.layer]
        net, truth = network(layer, *inside), images.as_tensor(sets[kind])
        names = [str(index) for index in range(len(truth))]
        with torch.no_grad():
            target = net(truth)[layer]
        plan = Plan(1.0, "lbfgs", [Phase(ITERATIONS, 10.0)], box=True)
        found = preimage.reconstruct(
            net, Matching(layer, target, names), names, SIZE, net.mean, terms, plan, 0, NEVER
        ).images
        squares = (found - truth).square().mean(1)
        within = {width: squares[:, width:-width, width:-width].sum((1, 2)) for width in (4, 8)} | {
            0: squares.sum((1, 2))
        }
        areas = {width: (SIZE - 2 * width) ** 2 for width in within}
        with torch.no_grad():
            maps = net(found)[layer]
        flat = [x.permute(0, 2, 3, 1).numpy() for x in (truth, found)]
        values = {
            **{f"frame {w}": (within[0] - within[w]) / (areas[0] - areas[w]) for w in (4, 8)},
            "inside": within[8] / areas[8],
            "whole": within[0] / areas[0],
            "representation": metrics.representation_error(maps, target),
        }
        values = {name: value.double().numpy() for name, value in values.items()}
        return values | {"ssim": metrics.ssim(*flat)}

    return reconstruct, network, pixels[TUNED:]


def tuned(score, start: list[float], what: str) -> dict[str, float]:
    """The best weight of every key of what `score(weight)` gives, on a grid that brackets them all."""
    found = {weight: score(weight) for weight in start}
    step = start[1] / start[0]
    while True:
        grid = sorted(found)
        best = {key: min(grid, key=lambda w, k=key: found[w][k]) for key in found[grid[0]]}
        more = []
        if grid[0] in best.values():
            more.append(grid[0] / step)
        if grid[-1] in best.values():
            more.append(grid[-1] * step)
        if not more or len(grid) > 9:
            break
        found |= {weight: score(weight) for weight in more}
    for weight in sorted(found):
        shown = ", ".join(f"{key} {value:.5f}" for key, value in found[weight].items())
        print(f"{what}, weight {weight:.3g}: {shown}", flush=True)
    return best


def compare(title: str, found: dict[str, dict[str, np.ndarray]], weights: dict[str, float]) -> None:
    """Print what both borders gave, and how they compare."""
    shown = ", ".join(f"{border} {weight:.3g}" for border, weight in weights.items())
    print(f"{title}: {len(found['valid']['ssim'])} images, weights {shown}")
    names = [str(index) for index in range(len(found["valid"]["ssim"]))]  # photographs
    for name in found["valid"]:
        valid, reflect = found["valid"][name], found["reflect"][name]
        if name in ("ssim", "psnr"):
            low, high = intervals.bootstrap_interval(reflect - valid, names, 0)
            compared = f"{(reflect - valid).mean():+.4f} [{low:+.4f}, {high:+.4f}]"
        else:
            low, high = intervals.ratio_interval(reflect, valid, names, 0)[1:]
            compared = f"x {reflect.mean() / valid.mean():.3f} [{low:.3f}, {high:.3f}]"
        print(f"  {name:15s} valid {valid.mean():.5f} reflect {reflect.mean():.5f}  {compared}")
    sys.stdout.flush()


def of_images(weights: str, train: str, test: str) -> None:
    reconstruct, _, learned = reconstructing(weights, train, test)
    with tempfile.TemporaryDirectory() as folder:
        path = prior_of(
            learned, 4, "patch", folder, of="images", expert="student_t", filters=64, unit_norm=False,
            noise=8.0, steps=2000,
        )  # fmt: skip
        fields = {border: load(path, border=border) for border in borders.BORDERS}
    for layer in ("features.4", "features.7", "features.12"):

        def run(kind, border, weight, layer=layer):
            return reconstruct(kind, layer, {"foe": Term(weight, Calibrated(fields[border]))})

        best = tuned(
            lambda w: {b: float(run("tuning", b, w)["whole"].mean()) for b in borders.BORDERS},
            [10**-1.5, 1e-1, 10**-0.5],
            layer,
        )
        found = {border: run("test", border, weight) for border, weight in best.items()}
        compare(f"image prior, {layer}", found, best)


def of_features(weights: str, train: str, test: str) -> None:
    reconstruct, network, learned = reconstructing(weights, train, test)
    for inside, layer in BEHIND.items():
        with torch.inference_mode():
            parts = images.as_tensor(learned).split(50)
            net = network(inside)
            maps = torch.cat([net(part)[inside] for part in parts]).contiguous().numpy()
        with tempfile.TemporaryDirectory() as folder:
            path = prior_of(
                maps, 3, "none", folder, of="features", expert="student_t", filters=8,
                variant="channelwise", steps=500,
            )  # fmt: skip
            fields = {border: load(path, border=border) for border in borders.BORDERS}
        print(f"{inside}: maps of {maps.shape[2]} x {maps.shape[3]}")

        def run(kind, border, weight, at=(inside, layer), fields=fields):
            prior = Term(weight, Calibrated(fields[border]), at[0])
            return reconstruct(kind, at[1], {"tv": VARIATION, "features": prior})

        best = tuned(
            lambda w: {b: float(run("tuning", b, w)["whole"].mean()) for b in borders.BORDERS},
            [10**-1.5, 1e-1, 10**-0.5],
            f"{inside} of {layer}",
        )
        found = {border: run("test", border, weight) for border, weight in best.items()}
        compare(f"prior of {inside}, {layer}", found, best)
        alone = reconstruct("test", layer, {"tv": VARIATION})
        print(
            "  tv alone:",
            {name: round(float(v.mean()), 5) for name, v in alone.items()},
            flush=True,
        )


# ------------------------------------------------------------------------------ denoising


def of_denoising(train: str, test: str, sigma: float = 25 / 255) -> None:
    learned = photographs(train, 200, 320)
    names = splits.evenly_spaced(inventory.image_files(test), TESTED)
    truth = [images.grey(images.read(f"{test}/{name}")) for name in names]
    held = images.grey(learned[splits.held_out(len(learned), SHARE)][:8, 80:240, 80:240])
    clean = next(material.batches(held[:, None], len(held)))
    noisy = denoising.add_noise(clean, [f"tuning {i}" for i in range(len(clean))], sigma, 0)
    settings = {"of": "grey", "expert": "student_t", "filters": 32, "noise": 4.0}
    for name, more in (
        ("foe", {"unit_norm": False, "steps": 4000}),
        ("foe_field", {"method": "field", "steps": 3000}),
    ):
        with tempfile.TemporaryDirectory() as folder:
            path = prior_of(learned, 4, "patch", folder, **settings, **more)
            fields = {border: load(path, border=border) for border in borders.BORDERS}
        found, weights = {}, {}
        for border, prior in fields.items():

            def score(weight, prior=prior):
                reconstructed = denoising.most_probable(prior, sigma, noisy, weight).images
                return float(denoising.psnr(clean, reconstructed).mean())

            weights[border] = denoising.tune(score, 0.1)
            rows = []
            for label, pixels in zip(names, truth, strict=True):
                x = torch.from_numpy(pixels)[None, None].float() / 255
                y = denoising.add_noise(x, [label], sigma, 0)
                z = denoising.most_probable(prior, sigma, y, weights[border]).images
                z = z.clamp(0, 1)
                flat = [a.permute(0, 2, 3, 1).numpy() for a in (x, z)]
                square = (z - x).square()[0, 0]
                inner = {w: square[w:-w, w:-w] for w in (4, 8)}
                frames = [
                    (square.sum() - part.sum()) / (square.numel() - part.numel())
                    for part in inner.values()
                ]
                row = (*frames, inner[8].mean(), square.mean(), denoising.psnr(x, z)[0])
                rows.append((*map(float, row), metrics.ssim(*flat)[0]))
            keys = (*REGIONS, "psnr", "ssim")
            found[border] = dict(zip(keys, np.array(rows).T, strict=True))
        compare(f"denoising, {name}", found, weights)


# ------------------------------------------------------------------------------ speed


def of_speed(rounds: int = 15) -> None:
    for title, shape, filters, position_stride in (
        ("64 filters of 4 x 4, 12 images of 96 x 96", (12, 3, 96, 96), (64, 3, 4, 4), 1),
        ("256 filters of 8 x 8, 4 images of 224 x 224", (4, 3, 224, 224), (256, 3, 8, 8), 1),
        ("the same, stride 4", (4, 3, 224, 224), (256, 3, 8, 8), 4),
        ("512 filters of 3 x 3, 12 maps of 256 x 11 x 11", (12, 256, 11, 11), (512, 256, 3, 3), 1),
    ):
        torch.manual_seed(0)
        x, draw = torch.rand(shape), torch.Generator()
        weights = torch.randn(filters) / math.sqrt(math.prod(filters[1:]))
        options = {"position_stride": position_stride}
        fields = {
            border: FieldOfExperts(
                weights, torch.zeros(filters[0]), torch.ones(filters[0]), "student_t",
                border=border, **options,
            )
            for border in borders.BORDERS
        }  # fmt: skip
        took = {border: [] for border in fields}
        for index in range(rounds + 1):
            for border, field in fields.items():
                started = time.process_time()
                known = x.detach().requires_grad_()
                energy = field.energy(known, draw.manual_seed(index)).sum()
                torch.autograd.grad(energy, known)
                if index:  # the first warms up
                    took[border].append(1000 * (time.process_time() - started))
        places = fields["reflect"].positions(x) / fields["valid"].positions(x)
        ratio = statistics.median(np.divide(took["reflect"], took["valid"]))
        shown = ", ".join(f"{b} {statistics.median(t):.1f} ms" for b, t in took.items())
        print(f"{title}: {shown}, x {ratio:.2f}, of x {places:.2f} patches", flush=True)


if __name__ == "__main__":
    devices.keep_memory()
    parts = {
        "images": of_images,
        "features": of_features,
        "denoising": of_denoising,
        "speed": of_speed,
    }
    parts[sys.argv[1]](*sys.argv[2:])
