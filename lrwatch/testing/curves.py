"""Loss curves with known truth: a mean that is known exactly, and noise of a known kind around it.

A detector is judged by when it reports, so every curve says from which index on its mean improves by less than what is
asked. Everything is seeded: the same arguments give the same values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lrwatch.core.sample import Floats

# Correlation of neighbours of the AR noise; smoothing of the EMA noise, as loggers do it.
AR = 0.9
EMA = 0.98

# One value in this many is a spike, and so large, in standard deviations.
SPIKE_EVERY = 200
SPIKE_SIZE = 20.0

# Values an epoch of the sawtooth.
EPOCH = 250

# First values that a recursive noise is run for and that are thrown away, so that it is stationary from index 0 on.
BURN_IN = 1000


Noise = Callable[[np.random.Generator, int], Floats]


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve.

    Attributes:
        values: What a log would show, shape (n,).
        mean: The truth under the noise, shape (n,).
        flat_from: Index from which on the mean improves by less than was asked, or None where it never does.
    """

    values: Floats
    mean: Floats
    flat_from: int | None


# ---- means --------------------------------------------------------------------------------------------------------


def hinge(n: int, at: int, start: float = 4.0, end: float = 2.0) -> Floats:
    """A line from `start` down to `end` at index `at`, flat from there. Shape (n,)."""
    return end + (start - end) * np.maximum(0.0, 1 - np.arange(n) / at)


def exponential(n: int, decay: float, start: float = 4.0, end: float = 2.0) -> Floats:
    """Towards `end`; what is left falls by a factor e in `decay` values. Shape (n,)."""
    return np.asarray(end + (start - end) * np.exp(-np.arange(n) / decay), np.float64)


def power_law(n: int, exponent: float = 0.1, start: float = 4.0) -> Floats:
    """`start` * (1 + i)^-exponent: falls by the same share in each doubling of the run, and never flattens. Shape (n,)."""
    return np.asarray(start * (1.0 + np.arange(n)) ** -exponent, np.float64)


def line(n: int, per_value: float, start: float = 4.0) -> Floats:
    """Falls by `per_value` from each value to the next, for ever. Shape (n,)."""
    return np.asarray(start - per_value * np.arange(n), np.float64)


def stairs(n: int, count: int, start: float = 4.0, end: float = 2.0) -> Floats:
    """`count` sudden drops of equal height at equal distance, flat between them. Shape (n,)."""
    return np.asarray(start - (start - end) * (np.arange(n) * (count + 1) // n) / count, np.float64)


# ---- noises -------------------------------------------------------------------------------------------------------


def gauss(rng: np.random.Generator, n: int) -> Floats:
    """Independent Gaussian noise."""
    return rng.standard_normal(n)


def _recursive(rng: np.random.Generator, n: int, correlation: float) -> Floats:
    shocks = rng.standard_normal(n + BURN_IN) * (1 - correlation**2) ** 0.5
    noise = np.empty(n + BURN_IN)
    last = 0.0
    for i, shock in enumerate(shocks.tolist()):
        last = correlation * last + shock
        noise[i] = last
    return noise[BURN_IN:]


def autoregression(correlation: float) -> Noise:
    """Gaussian noise with that correlation from each value to the next, stationary from index 0 on."""
    return lambda rng, n: _recursive(rng, n, correlation)


def student(df: float) -> Noise:
    """Student's t with `df` > 2 degrees of freedom, scaled to a standard deviation of 1."""
    return lambda rng, n: rng.standard_t(df, n) / (df / (df - 2)) ** 0.5


def autoregressive(rng: np.random.Generator, n: int) -> Floats:
    """Gaussian, with a correlation of AR from each value to the next: data order, momentum."""
    return _recursive(rng, n, AR)


def smoothed(rng: np.random.Generator, n: int) -> Floats:
    """White noise behind an exponential moving average, scaled back to a standard deviation of 1: what a logger smooths."""
    return _recursive(rng, n, EMA)


def heavy(rng: np.random.Generator, n: int) -> Floats:
    """Student's t with 3 degrees of freedom: symmetric, heavy tails."""
    return rng.standard_t(3, n) / 3**0.5


def lognormal(rng: np.random.Generator, n: int) -> Floats:
    """A centred log-normal: skewed upwards, as losses of small batches are."""
    variance = math.log((1 + 5**0.5) / 2)  # solves (e^v - 1) e^v = 1
    return rng.lognormal(0.0, variance**0.5, n) - math.exp(variance / 2)


def spikes(rng: np.random.Generator, n: int) -> Floats:
    """Gaussian, with single spikes upwards; the mean is that of the values without them."""
    return rng.standard_normal(n) + SPIKE_SIZE * (rng.random(n) < 1 / SPIKE_EVERY)


def sawtooth(rng: np.random.Generator, n: int) -> Floats:
    """Gaussian around a ramp that falls through each epoch and starts again, of the same standard deviation as the noise."""
    ramp = 0.5 - (np.arange(n) % EPOCH + 0.5) / EPOCH
    return (12**0.5 * ramp + rng.standard_normal(n)) / 2**0.5


NOISES: Mapping[str, Noise] = {
    "gauss": gauss, "ar": autoregressive, "t3": heavy, "lognormal": lognormal, "spikes": spikes, "sawtooth": sawtooth,
    "ema": smoothed,
}  # fmt: skip
"""Every kind of noise by name: generator and length to values of mean 0 and standard deviation 1 (without the spikes)."""


def flat_from(mean: Floats, horizon: float, delta: float, *, relative: bool = True) -> int | None:
    """The index from which on `mean` (shape (n,)) improves by less than `delta` per horizon, or None.

    The rate is that from each value to the next; stairs are flat after the last of them. `horizon` is a number of values,
    `delta` relative to the mean unless `relative` is false.
    """
    asked = delta * (np.abs(mean[:-1]) if relative else 1.0)
    worth = np.flatnonzero(-np.diff(mean) * horizon >= asked)
    last = int(worth[-1]) + 1 if len(worth) else 0
    return last if last < len(mean) - 1 else None


def curve(
    mean: Floats,
    noise: str,
    sd: float,
    seed: int,
    *,
    horizon: float,
    delta: float,
    relative: bool = True,
) -> Curve:
    """`mean` with noise around it.

    Args:
        mean: The truth, shape (n,); see the functions of this module.
        noise: A name of `NOISES`.
        sd: Standard deviation of the noise, in units of the mean.
        seed: Other seeds give other noise.
        horizon: Values over which an improvement is asked for.
        delta: The improvement that is asked for.
        relative: Whether `delta` is relative to the mean.

    >>> found = curve(hinge(1000, 400), "gauss", 0.1, seed=1, horizon=100, delta=0.01)
    >>> found.flat_from, len(found.values)
    (400, 1000)
    """
    values = mean + sd * NOISES[noise](np.random.default_rng(seed), len(mean))
    return Curve(values, mean, flat_from(mean, horizon, delta, relative=relative))
