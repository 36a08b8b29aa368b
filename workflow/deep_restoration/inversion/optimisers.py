"""Update rules of pre-image optimisation: one class per rule, acting on a batch of images in place.

Each takes the variable u and the number of pixels of an image, without the frame that jitter adds. L-BFGS is
ours because those of torch and SciPy see one vector with one line search: a batch would be a single problem
whose images share curvature and steps, so that the result of one would depend on its neighbours.
"""

from __future__ import annotations

import math

import torch

from .mahendran_vedaldi import REFERENCE_PIXELS, SIGMA

Rate = float | torch.Tensor  # one for all images, or N x 1 x 1 x 1


class Momentum:
    """mu <- m mu - rate * scale * gradient; u <- u + mu (Mahendran & Vedaldi 2015, m = 0.9).

    `scale` is sigma^2 of the image size: the published rates act on images divided by sigma. Momentum is
    reset when the rate changes.
    """

    def __init__(self, u: torch.Tensor, pixels: int):
        self.state = {"mu": torch.zeros_like(u)}
        self.scale = SIGMA**2 * pixels / REFERENCE_PIXELS

    def start_phase(self) -> None:
        self.state["mu"].zero_()

    def step(self, u: torch.Tensor, gradient: torch.Tensor, rate: Rate, count: int) -> None:
        u += self.state["mu"].mul_(0.9).sub_(gradient * (rate * self.scale))


class AdaGrad2016:
    """The AdaGrad variant of Mahendran & Vedaldi 2016.

    G <- 0.9 G + g^2; m <- 0.9 m - g / (1/lr + sqrt G); u <- u + m, with lr = rate * H * W, H W being
    the pixels of the image, while the priors in g are means over those of the whole canvas (released
    code). Momentum is reset when the rate changes, G only with a new run.
    """

    def __init__(self, u: torch.Tensor, pixels: int):
        self.state = {"G": torch.zeros_like(u), "m": torch.zeros_like(u)}
        self.pixels = pixels

    def start_phase(self) -> None:
        self.state["m"].zero_()

    def step(self, u: torch.Tensor, gradient: torch.Tensor, rate: Rate, count: int) -> None:
        G, m = self.state["G"], self.state["m"]
        G.mul_(0.9).addcmul_(gradient, gradient)
        m.mul_(0.9).addcdiv_(gradient, G.sqrt().add_(1 / (rate * self.pixels)), value=-1)
        u += m


class Adam:
    """Kingma & Ba 2015 with betas 0.9, 0.999; rate in units of u (0..255)."""

    def __init__(self, u: torch.Tensor, pixels: int):
        self.state = {"first": torch.zeros_like(u), "second": torch.zeros_like(u)}

    def start_phase(self) -> None:
        pass

    def step(self, u: torch.Tensor, gradient: torch.Tensor, rate: Rate, count: int) -> None:
        first, second = self.state["first"], self.state["second"]
        first.lerp_(gradient, 0.1)
        second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        scale = math.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        # Gradients of a normalised loss are far below the usual 1e-8 of Adam.
        u.addcdiv_(first, second.sqrt().add_(1e-12).div_(rate * scale), value=-1)


class LBFGS:
    """Limited-memory BFGS (Liu & Nocedal 1989), every image with its own history of 10 steps.

    No line search: `rate`, in units of u (0..255), bounds the root mean square of a step instead, so that
    an iteration costs one gradient. Pairs of negative curvature are left out. For objectives without
    sampled positions or jitter, whose gradients would differ by chance.
    """

    MEMORY = 10

    def __init__(self, u: torch.Tensor, pixels: int):
        pairs = (u.shape[0], self.MEMORY, *u.shape[1:])
        self.state = {"s": u.new_zeros(pairs), "y": u.new_zeros(pairs)}
        self.state |= {"u": torch.zeros_like(u), "gradient": torch.zeros_like(u)}
        # 1 / <s, y>, or 0 for no pair; and whether there is a step before.
        self.state |= {"curvature": u.new_zeros(pairs[:2]), "moved": u.new_zeros(len(u))}

    def start_phase(self) -> None:
        pass

    def step(self, u: torch.Tensor, gradient: torch.Tensor, rate: Rate, count: int) -> None:
        state, place = self.state, count % self.MEMORY
        s, y = u - state["u"], gradient - state["gradient"]
        inner, size = _inner(s, y), _inner(y, y)
        good = (state["moved"] > 0) & (inner > 1e-10 * size)
        state["s"][:, place], state["y"][:, place] = s, y
        state["curvature"][:, place] = torch.where(good, 1 / inner, 0)
        state["u"].copy_(u)
        state["gradient"].copy_(gradient)
        state["moved"].fill_(1)
        direction = self._inverse_hessian(gradient, place)
        length = direction.flatten(1).square().mean(1).sqrt().clamp(min=1e-30).view(-1, 1, 1, 1)
        u.sub_(direction * (rate / length).clamp(max=1))

    def _inverse_hessian(self, gradient: torch.Tensor, newest: int) -> torch.Tensor:
        """The two-loop recursion: H g of every image."""
        q, kept = gradient.clone(), []
        for age in range(self.MEMORY):
            place = (newest - age) % self.MEMORY
            s, y = self.state["s"][:, place], self.state["y"][:, place]
            rho = self.state["curvature"][:, place]
            alpha = rho * _inner(s, q)
            q -= alpha.view(-1, 1, 1, 1) * y
            kept.append((s, y, rho, alpha))
        # Scaled by the newest pair; without one, so long that the bound decides.
        _, y, rho, _ = kept[0]
        scale = torch.where(rho > 0, 1 / (rho * _inner(y, y)).clamp(min=1e-30), 1e12)
        q *= scale.view(-1, 1, 1, 1)
        for s, y, rho, alpha in reversed(kept):
            q += (alpha - rho * _inner(y, q)).view(-1, 1, 1, 1) * s
        return q


def _inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).flatten(1).sum(1)


OPTIMISERS = {"momentum": Momentum, "adagrad2016": AdaGrad2016, "adam": Adam, "lbfgs": LBFGS}
