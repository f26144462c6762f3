"""Loss curves with known truth: an exactly known mean, and noise of a known kind around it.

A detector is judged by the time of its report, so every curve has the index from which its mean improves by less than
required. Everything is seeded: the same arguments give the same values. `lrwatch.testing.synthetic.catalog` has whole
runs with their correct findings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrwatch.core.sample import Floats
from lrwatch.testing.synthetic.noise import (
    AR,
    EMA,
    EPOCH,
    NOISES,
    SPIKE_EVERY,
    SPIKE_SIZE,
    Noise,
    autoregression,
    autoregressive,
    gauss,
    heavy,
    lognormal,
    sawtooth,
    smoothed,
    spikes,
    student,
)
from lrwatch.testing.synthetic.trends import exponential, flat_from, hinge, line, power_law, stairs

__all__ = [
    "AR", "EMA", "EPOCH", "NOISES", "SPIKE_EVERY", "SPIKE_SIZE", "Noise", "SyntheticCurve", "autoregression", "autoregressive",
    "curve", "exponential", "flat_from", "gauss", "heavy", "hinge", "line", "lognormal", "power_law", "sawtooth", "smoothed",
    "spikes", "stairs", "student",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class SyntheticCurve:
    """A loss curve with its truth.

    Attributes:
        values: Noisy values, as a log shows them, shape (n,).
        mean: The noise-free truth, shape (n,).
        flat_from: Index from which the mean improves by less than required, or None where it never does.
    """

    values: Floats
    mean: Floats
    flat_from: int | None


def curve(
    mean: Floats,
    noise: str,
    sd: float,
    seed: int,
    *,
    horizon: float,
    delta: float,
    relative: bool = True,
) -> SyntheticCurve:
    """Draw a curve: noise around a mean.

    Args:
        mean: The truth, shape (n,); see `lrwatch.testing.synthetic.trends`.
        noise: A name of `NOISES`.
        sd: Standard deviation of the noise, in units of the mean.
        seed: Seed of the noise.
        horizon: Number of values in which the mean must improve by `delta`.
        delta: Required improvement.
        relative: Whether `delta` is relative to the mean.

    Returns:
        The curve with its truth.

    >>> found = curve(hinge(1000, 400), "gauss", 0.1, seed=1, horizon=100, delta=0.01)
    >>> found.flat_from, len(found.values)
    (400, 1000)
    """
    values = mean + sd * NOISES[noise](np.random.default_rng(seed), len(mean))
    return SyntheticCurve(values, mean, flat_from(mean, horizon, delta, relative=relative))
