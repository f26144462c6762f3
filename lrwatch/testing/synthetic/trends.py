"""Exactly known means of curves, and the index from which a mean improves by less than required."""

from __future__ import annotations

import numpy as np

from lrwatch.core.sample import Floats

# A line at exactly the required rate counts as improving, although some differences of its rounded values are less.
ROUNDING = 1e-6


def hinge(n: int, at: int, start: float = 4.0, end: float = 2.0) -> Floats:
    """Return a falling line that is flat after its end.

    Args:
        n: Number of values.
        at: Index at which the line ends.
        start: First value.
        end: Last value.

    Returns:
        The means, shape (n,).
    """
    return end + (start - end) * np.maximum(0.0, 1 - np.arange(n) / at)


def exponential(n: int, decay: float, start: float = 4.0, end: float = 2.0) -> Floats:
    """Return an exponential approach.

    Args:
        n: Number of values.
        decay: Number of values in which the distance to `end` falls by a factor e.
        start: First value.
        end: Limit.

    Returns:
        The means, shape (n,).
    """
    return np.asarray(end + (start - end) * np.exp(-np.arange(n) / decay), np.float64)


def power_law(n: int, exponent: float = 0.1, start: float = 4.0) -> Floats:
    """Return `start` * (1 + i)^-exponent, which falls by the same share in each doubling of the run and never flattens.

    Args:
        n: Number of values.
        exponent: Exponent of the power law.
        start: First value.

    Returns:
        The means, shape (n,).
    """
    return np.asarray(start * (1.0 + np.arange(n)) ** -exponent, np.float64)


def line(n: int, per_value: float, start: float = 4.0) -> Floats:
    """Return a line that never flattens.

    Args:
        n: Number of values.
        per_value: Improvement from each value to the next.
        start: First value.

    Returns:
        The means, shape (n,).
    """
    return np.asarray(start - per_value * np.arange(n), np.float64)


def stairs(n: int, count: int, start: float = 4.0, end: float = 2.0) -> Floats:
    """Return drops of equal height at equal distances, flat between them.

    Args:
        n: Number of values.
        count: Number of drops.
        start: First value.
        end: Last value.

    Returns:
        The means, shape (n,).
    """
    return np.asarray(start - (start - end) * (np.arange(n) * (count + 1) // n) / count, np.float64)


def flat_from(mean: Floats, horizon: float | Floats, delta: float, *, relative: bool = True) -> int | None:
    """Find the index from which a mean improves by less than required.

    The rate is that from each value to the next; stairs are flat after the last of them.

    Args:
        mean: The mean, shape (n,).
        horizon: Number of values in which the mean must improve by `delta`; or one number for each pair of
            neighbours, shape (n - 1,).
        delta: Required improvement.
        relative: Whether `delta` is relative to the mean.

    Returns:
        The index, or None where the mean improves as required to its end.
    """
    required = delta * (np.abs(mean[:-1]) if relative else 1.0)
    worth = np.flatnonzero(-np.diff(mean) * horizon >= required * (1 - ROUNDING))
    last = int(worth[-1]) + 1 if len(worth) else 0
    return last if last < len(mean) - 1 else None
