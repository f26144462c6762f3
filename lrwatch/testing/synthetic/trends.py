"""What is under the noise: the mean of a curve, known exactly, and from where on it improves by less than was asked."""

from __future__ import annotations

import numpy as np

from lrwatch.core.sample import Floats

# A line at exactly the rate that is asked for is worth having, although the differences of its rounded values are some of
# them a little less.
ROUNDING = 1e-6


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


def flat_from(mean: Floats, horizon: float | Floats, delta: float, *, relative: bool = True) -> int | None:
    """The index from which on `mean` (shape (n,)) improves by less than `delta` per horizon, or None.

    The rate is that from each value to the next; stairs are flat after the last of them. `horizon` is a number of values, or
    one for each step from a value to the next (shape (n - 1,)); `delta` is relative to the mean unless `relative` is false.
    """
    asked = delta * (np.abs(mean[:-1]) if relative else 1.0)
    worth = np.flatnonzero(-np.diff(mean) * horizon >= asked * (1 - ROUNDING))
    last = int(worth[-1]) + 1 if len(worth) else 0
    return last if last < len(mean) - 1 else None
