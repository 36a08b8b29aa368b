"""What learned filters look like in numbers: Gabor fits, frequency, orientation, size.

Filters of natural images are localised, oriented and band-pass: Gabor functions describe them (Olshausen
& Field 1996; van Hateren & van der Schaaf 1998).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

COLUMNS = ("filter", "alpha", "frequency", "orientation", "width", "length", "explained", "colour")
GOOD = 0.8  # share of a pattern's energy that a good Gabor fit explains


def luminance(patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pattern K x C x k x k as one plane, K x k x k, along its own strongest colour, and the share of
    its energy that lies across grey, (K,): 0 for grey patterns and for one channel."""
    flat = patterns.reshape(*patterns.shape[:2], -1)
    _, strengths, planes = np.linalg.svd(flat, full_matrices=False)
    planes = planes[:, 0] * strengths[:, :1]
    grey = np.full(patterns.shape[1], patterns.shape[1] ** -0.5)
    along = np.square(np.einsum("c,kcp->kp", grey, flat)).sum(1)
    total = np.square(flat).sum((1, 2))
    share = 1 - np.divide(along, total, out=np.ones_like(along), where=total > 0)
    return planes.reshape(len(patterns), *patterns.shape[2:]), share.clip(0, 1)


def gabor(parameters: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The cosine and the sine part, size x size, of a Gabor function: centre (row, column), frequency in
    cycles per pixel, orientation of the wave, and log spreads along and across the wave."""
    row, column, frequency, angle, along, across = parameters
    y, x = np.mgrid[:size, :size] - np.array([row, column])[:, None, None]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    window = np.exp(-0.5 * ((u / np.exp(along)) ** 2 + (v / np.exp(across)) ** 2))
    phase = 2 * np.pi * frequency * u
    return window * np.cos(phase), window * np.sin(phase)


def fit(plane: np.ndarray) -> tuple[np.ndarray, float]:
    """The Gabor parameters of a k x k plane and the share of its energy that they explain.

    Amplitude and phase are solved for exactly; the rest by least squares from the peak of the
    amplitude spectrum and the middle of the energy, with two window sizes. At least 6 x 6.
    """
    size, energy = len(plane), np.square(plane)
    if not energy.sum():
        return np.zeros(6), 0.0
    target = (plane / np.sqrt(energy.sum())).ravel()

    def left(parameters: np.ndarray) -> np.ndarray:
        basis = np.stack([part.ravel() for part in gabor(parameters, size)], 1)
        gram = basis.T @ basis + 1e-9 * np.eye(2)
        return target - basis @ np.linalg.solve(gram, basis.T @ target)

    padded = np.abs(np.fft.fft2(plane, (4 * size, 4 * size)))
    frequencies = np.fft.fftfreq(4 * size)
    half = padded * (frequencies[None, :] >= 0)
    y, x = np.unravel_index(half.argmax(), half.shape)
    wave = frequencies[y], frequencies[x]
    places = np.arange(size)
    middle = (energy.sum(1) @ places, energy.sum(0) @ places) / energy.sum()
    low = np.array([-1, -1, 0, -2 * np.pi, np.log(0.4), np.log(0.4)])
    high = np.array([size, size, 0.75, 2 * np.pi, np.log(2 * size), np.log(2 * size)])
    best, most = np.zeros(6), -1.0
    for spread in (size / 8, size / 3):
        begin = [*middle, np.hypot(*wave), np.arctan2(*wave), np.log(spread), np.log(spread)]
        found = least_squares(
            left, np.clip(begin, low + 1e-6, high - 1e-6), bounds=(low, high), max_nfev=60
        )
        explained = 1 - 2 * found.cost
        if explained > most:
            best, most = found.x, explained
    return best, float(most)


def describe(patterns: np.ndarray, alphas: np.ndarray) -> list[tuple]:
    """Rows of COLUMNS: frequency in cycles per pixel, orientation of the wave in degrees (0..180), spreads
    along and across the wave in pixels, share of energy explained, share of energy in colour."""
    planes, colours = luminance(patterns.astype(np.float64))
    rows = []
    for index, (plane, colour) in enumerate(zip(planes, colours, strict=True)):
        found, explained = fit(plane)
        angle = float(np.degrees(found[3]) % 180)
        spreads = np.exp(found[4:]).tolist()
        rows.append(
            (
                index,
                float(alphas[index]),
                float(found[2]),
                angle,
                *spreads,
                explained,
                float(colour),
            )
        )
    return rows


def order(frequencies: np.ndarray, orientations: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The order of filters in pictures: grey before coloured, by octave of frequency, then by orientation."""
    octave = np.floor(2 * np.log2(np.maximum(frequencies, 1 / 64)))
    return np.lexsort((orientations, octave, colours > 0.5))
