"""Loss curves with known truth: five shapes of the mean, eight kinds of noise, three noise levels.

The metric must improve by 1 per horizon; the truth of a run is `tau`, the index from which its mean permanently
improves by less. Delay is counted in units of `unit` = max(horizon, k), where k is the number of values that even an
oracle that knows the noise needs: k = (12 LRV sd^2 horizon^2 z^2)^(1/3) with z = 3, from the variance of the slope of a
line fitted by ordinary least squares. LRV is the long-run variance of the noise over its variance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lrwatch.core.sample import Floats
from lrwatch.testing.synthetic import curves

SHAPES = ("hinge", "exp", "power", "line", "steps")
SDS = (0.5, 2.0, 8.0)

# Level of the curves: a loss is positive, and relative thresholds need a level.
LEVEL = 50.0

# Delay in units after `tau` that a run must have room for, to count as a run with a plateau.
ROOM = 1.5


class Size(NamedTuple):
    """Length of the runs, and the horizon over which they must improve by 1."""

    values: int = 20_000
    horizon: int = 2_000


def hetero(rng: np.random.Generator, n: int) -> Floats:
    """Draw Gaussian noise whose standard deviation rises and falls slowly, nine-fold, three times in a run."""
    return rng.standard_normal(n) * (1 + 0.8 * np.sin(6 * np.pi * np.arange(n) / n + rng.uniform(0, 2 * np.pi)))


class Kind(NamedTuple):
    """A kind of noise of standard deviation 1, and its long-run variance."""

    noise: Callable[[np.random.Generator, int], Floats]
    lrv: float


NOISES = {
    "gauss": Kind(curves.gauss, 1.0),
    "ar9": Kind(curves.autoregressive, (1 + curves.AR) / (1 - curves.AR)),
    "t3": Kind(curves.heavy, 1.0),
    "lognormal": Kind(curves.lognormal, 1.0),
    "hetero": Kind(hetero, 1.0),
    "spikes": Kind(curves.spikes, 1.0),  # the oracle leaves the spikes out
    "epoch": Kind(curves.sawtooth, 0.5),  # and takes the sawtooth off, which is half of the variance
    "ema": Kind(curves.smoothed, (1 + curves.EMA) / (1 - curves.EMA)),
}


def mean_curve(shape: str, size: Size, rng: np.random.Generator) -> tuple[Floats, int]:
    """Return the mean, shape (n,), and tau, which is n where the mean never stops improving by 1 per horizon.

    Raises:
        ValueError: There is no such shape.
    """
    n, horizon = size
    t = np.arange(n + horizon)
    if shape == "hinge":  # falls by 2 to 6 per horizon, then flat
        corner = int(n * rng.uniform(0.25, 0.6))
        mean = rng.uniform(2, 6) * np.maximum(corner - t, 0) / horizon
    elif shape == "exp":
        mean = rng.uniform(10, 60) * np.exp(-t / (n * rng.uniform(0.04, 0.12)))
    elif shape == "power":  # never slower than 1.5 per horizon
        mean = (1 + t / (n / 50)) ** -rng.uniform(0.3, 0.8)
        mean *= 1.5 / (mean[n - 1] - mean[n - 1 + horizon])
    elif shape == "line":  # 1.5 per horizon for ever
        mean = -1.5 * t / horizon
    elif shape == "steps":  # 3 per horizon between the drops of a schedule, then flat
        corner = int(n * rng.uniform(0.5, 0.7))
        mean = 3 * np.maximum(corner - t, 0) / horizon + 20 * (t < corner * 0.3) + 8 * (t < corner * 0.7)
    else:
        raise ValueError(f"no such shape: {shape}")
    worth = np.flatnonzero(mean[:n] - mean[horizon:] >= 1)
    return np.asarray(mean[:n], np.float64), int(worth[-1]) + 1 if len(worth) else 0


@dataclass(frozen=True, slots=True)
class Cell:
    """Runs of one noise and one shape.

    Attributes:
        noise, shape: Names of the noise and the shape.
        size: Length and horizon.
        sd: Standard deviation of each run, shape (runs,).
        values: Values of the log, shape (runs, n).
        tau: Index from which each run is a plateau, shape (runs,); n where never.
        unit: Unit of delay of each run, in values, shape (runs,).
    """

    noise: str
    shape: str
    size: Size
    sd: Floats
    values: Floats
    tau: Floats
    unit: Floats

    def room(self) -> npt.NDArray[np.bool_]:
        """Return which runs have room for a plateau to be detected, shape (runs,)."""
        return self.size.values - self.tau > ROOM * self.unit


def cell(noise: str, shape: str, runs: int, seed: int, size: Size) -> Cell:
    """Draw `runs` runs; the same arguments give the same values."""
    kind = NOISES[noise]
    where = (list(NOISES).index(noise), SHAPES.index(shape))
    values, tau, sd = np.empty((runs, size.values)), np.empty(runs), np.empty(runs)
    for run in range(runs):
        rng = np.random.default_rng([seed, *where, run])
        sd[run] = rng.choice(SDS)
        mean, tau[run] = mean_curve(shape, size, rng)
        values[run] = LEVEL + mean + sd[run] * kind.noise(rng, size.values)
    oracle = (12 * kind.lrv * sd**2 * size.horizon**2 * 9) ** (1 / 3)
    return Cell(noise, shape, size, sd, values, tau, np.maximum(size.horizon, oracle))


def cells(runs: int, seed: int, size: Size, most: int = 10) -> Iterator[tuple[str, str, int, int, Size]]:
    """Yield the arguments of `cell` for `runs` runs of each shape in each noise, in portions of at most `most`."""
    for noise in NOISES:
        for shape in SHAPES:
            for portion, start in enumerate(range(0, runs, most)):
                yield noise, shape, min(most, runs - start), seed * 1000 + portion, size
