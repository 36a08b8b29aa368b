"""A step of score matching against autograd and against the matrix products it needs.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/score_matching.py [training]

512 filters in 191 dimensions, CPU seconds of this process, medians of rounds in which everything is
measured side by side. Autograd differentiates eq. (8) as it is written, a double sum over filters, and
also the same with the double sum as a squared norm, which already saves the products of N x N. The
floor is the time that the five matrix products of a step take by themselves. With
`training`, instead: minutes to learn from the embedded photographs' patches, beside scikit-learn's
FastICA (as many components as dimensions, it has no more) and MiniBatchDictionaryLearning, on 20000
patches each, one pass over them for the dictionary.
"""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from deep_restoration.data import images, patches
from deep_restoration.priors import score_matching, whitening
from deep_restoration.priors.experts import EXPERTS
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.statistics.moments import Moments

FILTERS, DIMENSIONS, ROUNDS = 512, 191, 15
torch.set_num_threads(2)


def by_autograd(data, filters, alphas, expert, norm=False):
    """Eq. (8), or with its double sum as a squared `norm`, differentiated."""
    filters, alphas = filters.detach().requires_grad_(), alphas.detach().requires_grad_()
    s = data @ filters.T
    if expert == "student_t":
        g, dg = -2 * s / (s**2 + 2), 2 * (s**2 - 2) / (s**2 + 2) ** 2
    else:
        g, dg = -torch.tanh(s), torch.tanh(s) ** 2 - 1
    if norm:
        second = ((alphas * g) @ filters).square().sum() / len(data)
    else:
        second = (alphas[:, None] * alphas * (filters @ filters.T) * (g.T @ g / len(data))).sum()
    value = dg.mean(0) @ (alphas * filters.square().sum(1)) + 0.5 * second
    return value, *torch.autograd.grad(value, (filters, alphas))


def products(data, filters):
    """The five matrix products of a step."""
    for _ in range(2):
        responses = data @ filters.T
    score = responses @ filters
    for other in (data, score):
        responses.T @ other


def seconds(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def step() -> None:
    filters = F.normalize(torch.randn(FILTERS, DIMENSIONS), dim=1)
    alphas = torch.rand(FILTERS) + 0.5
    print(
        f"{'expert':10} {'batch':>6} {'ms':>8} {'eq. (8)':>12} {'as a norm':>12} {'of floor':>12}"
    )
    for name in ("logistic", "student_t"):
        for batch in (500, 5000):
            data, expert = torch.randn(batch, DIMENSIONS), EXPERTS[name]
            ways = {
                "ours": lambda: score_matching.gradient(data, filters, alphas, expert),  # noqa: B023
                "formula": lambda: by_autograd(data, filters, alphas, name),  # noqa: B023
                "norm": lambda: by_autograd(data, filters, alphas, name, True),  # noqa: B023
                "floor": lambda: products(data, filters),  # noqa: B023
            }
            times = {way: [] for way in ways}
            for _ in range(ROUNDS):
                for way, work in ways.items():
                    times[way].append(seconds(lambda: [work() for _ in range(5000 // batch)]))  # noqa: B023
            ratio = {way: np.median(np.divide(times[way], times["ours"])) for way in ways}
            ms = 1000 * np.median(times["ours"]) * batch / 5000
            print(
                f"{name:10} {batch:6} {ms:8.2f} {ratio['formula']:10.2f} x {ratio['norm']:10.2f} x "
                f"{1 / ratio['floor']:10.2f} x"
            )


def training() -> None:
    from sklearn.decomposition import FastICA, MiniBatchDictionaryLearning

    warnings.filterwarnings("ignore", module="sklearn")  # both stop before they have converged
    rng = np.random.default_rng(0)
    crops = [crop for _, crop in images.embedded_crops("train", 200, 96, 0)]
    found = np.concatenate(
        [
            patches.gather(c.transpose(2, 0, 1), 8, rng.choice(7921, 100, replace=False))
            for c in crops
        ]
    )
    flat = patches.remove_dc(found / 255.0, "patch")
    moments = Moments(flat.shape[1])
    moments.add(flat)
    fitted = whitening.Projection.fit(
        (3, 8, 8), moments.mean, moments.covariance, "patch", dimensions=DIMENSIONS
    )
    white = torch.from_numpy(fitted.apply(flat.astype(np.float32)))
    plan = score_matching.Settings(
        "student_t", FILTERS, 3000, 500, 2e-2, unit_norm=True, patience=None
    )
    problem = score_matching.Patches(white[:, 1000:], white[:, :1000])
    ways = {
        "score matching, 512 filters, 3000 updates of 500": lambda: score_matching.train(
            problem, plan, 0, Checkpoint("/nonexistent/never", [], 1e9)
        ),
        "FastICA, 191 components, 200 iterations": lambda: FastICA(
            DIMENSIONS, whiten=False, max_iter=200, tol=1e-12
        ).fit(white[0].numpy()),
        "MiniBatchDictionaryLearning, 512 atoms, 1 epoch": lambda: MiniBatchDictionaryLearning(
            FILTERS, max_iter=1, batch_size=500, fit_algorithm="cd", random_state=0
        ).fit(flat),
    }
    for name, work in ways.items():
        started = time.monotonic()
        work()
        print(f"{name:50} {(time.monotonic() - started) / 60:6.2f} min", flush=True)


if __name__ == "__main__":
    training() if "training" in sys.argv else step()
