"""Noise of known distribution: mean 0 and standard deviation 1, stationary from index 0 on, of any length.

A noise is a function of a generator and a length; the seed of the generator determines it completely. `NOISES` names
the usual ones; the functions make others with other parameters. A million values take well below a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from lrwatch.core.sample import Floats

# Correlation of neighbours of the AR noise; smoothing factor of the EMA noise, as in loggers.
AR = 0.9
EMA = 0.98

# One value in this many is a spike of this size, in standard deviations.
SPIKE_EVERY = 200
SPIKE_SIZE = 20.0

# Values in an epoch of the sawtooth.
EPOCH = 250

# Dropped first values of a recursion: the variance is stationary from the start, the distribution only after them.
BURN_IN = 1000

Noise = Callable[[np.random.Generator, int], Floats]


def recursion(shocks: Floats, correlation: float) -> Floats:
    """Compute x[i] = c x[i-1] + sqrt(1 - c^2) shocks[i] with x[0] = shocks[0], shape (n,).

    The variance is 1 if that of the shocks is.

    About sqrt(n) stretches are computed side by side; the carry from each stretch to the next is added at the end.
    """
    n = len(shocks)
    length = max(1, math.isqrt(n))
    stretches = -(-n // length)
    padded = np.zeros(stretches * length)
    padded[:n] = shocks * (1 - correlation**2) ** 0.5
    padded[:1] = shocks[:1]
    parts = np.ascontiguousarray(padded.reshape(stretches, length).T)
    for i in range(1, length):
        parts[i] += correlation * parts[i - 1]
    carried = np.zeros(stretches)
    decay = correlation**length
    for k in range(1, stretches):
        carried[k] = parts[-1, k - 1] + decay * carried[k - 1]
    parts += correlation ** np.arange(1, length + 1)[:, None] * carried
    return np.asarray(parts.T.reshape(-1)[:n], np.float64)


def gauss(rng: np.random.Generator, n: int) -> Floats:
    """Draw independent Gaussian noise."""
    return rng.standard_normal(n)


def averaged(noise: Noise, beta: float) -> Noise:
    """Smooth independent `noise` by an exponential moving average, scaled back to a standard deviation of 1.

    The correlation of neighbours is `beta`. Smoothed Gaussian noise is an autoregression.
    """
    return lambda rng, n: recursion(noise(rng, n + BURN_IN), beta)[BURN_IN:]


def autoregression(correlation: float) -> Noise:
    """Make Gaussian noise with that correlation of neighbours, -1 < correlation < 1."""
    return averaged(gauss, correlation)


autoregressive = autoregression(AR)
"""Gaussian noise with a correlation of AR between neighbours, as data order and momentum cause it."""

smoothed = averaged(gauss, EMA)
"""White noise smoothed by an exponential moving average, as a logger does."""


def student(df: float) -> Noise:
    """Make Student's t noise with `df` > 2 degrees of freedom: symmetric; a smaller `df` has heavier tails."""
    return lambda rng, n: rng.standard_t(df, n) / (df / (df - 2)) ** 0.5


heavy = student(3.0)
"""Student's t with 3 degrees of freedom: its fourth moment is infinite."""


def lognormal(rng: np.random.Generator, n: int) -> Floats:
    """Draw centred log-normal noise: skewed upwards, as losses of small batches are."""
    variance = math.log((1 + 5**0.5) / 2)  # solves (e^v - 1) e^v = 1
    return rng.lognormal(0.0, variance**0.5, n) - math.exp(variance / 2)


def mirrored(noise: Noise) -> Noise:
    """Negate `noise`, so that upward skew becomes downward."""
    return lambda rng, n: -noise(rng, n)


def spikes(rng: np.random.Generator, n: int) -> Floats:
    """Draw Gaussian noise with single upward spikes; mean and deviation are those of the values without them."""
    return rng.standard_normal(n) + SPIKE_SIZE * (rng.random(n) < 1 / SPIKE_EVERY)


def sawtooth(rng: np.random.Generator, n: int) -> Floats:
    """Draw Gaussian noise around a ramp that falls through each epoch; both have the same standard deviation."""
    ramp = 0.5 - (np.arange(n) % EPOCH + 0.5) / EPOCH
    return (12**0.5 * ramp + rng.standard_normal(n)) / 2**0.5


def periodic(period: int, share: float = 0.5) -> Noise:
    """Make Gaussian noise of which `share` of the variance repeats every `period` values, as unshuffled data does."""

    def noise(rng: np.random.Generator, n: int) -> Floats:
        order = rng.standard_normal(period)
        order = (order - order.mean()) / order.std()
        own = (1 - share) ** 0.5 * rng.standard_normal(n)
        return np.asarray(share**0.5 * order[np.arange(n) % period] + own, np.float64)

    return noise


NOISES: Mapping[str, Noise] = {
    "gauss": gauss, "ar": autoregressive, "t3": heavy, "lognormal": lognormal, "spikes": spikes, "sawtooth": sawtooth,
    "ema": smoothed,
}  # fmt: skip
"""The usual noises by name."""
