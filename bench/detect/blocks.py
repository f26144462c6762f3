"""Block means of neighbouring values, and windows of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lrwatch.core.sample import Floats, Ints

NEVER = int(np.iinfo(np.int64).max)
"""Index that stands for no report."""

# Block means a horizon, for the rules that are fed with means, as users do against noise.
A_HORIZON = 100

# Block means a window and looks a horizon, for the rules that test a whole window.
A_WINDOW = 64
LOOKS = 4

# Lengths of windows in horizons.
WINDOWS = (1, 3)


def means(values: Floats, size: int) -> Floats:
    """Return means of `size` neighbours each, shape (runs, n // size), of values of shape (runs, n)."""
    runs, n = values.shape
    return np.asarray(values[:, : n // size * size].reshape(runs, -1, size).mean(axis=2))


class Windows(NamedTuple):
    """Input of a rule at its looks.

    Attributes:
        ends: Index of the newest value at each look, shape (looks,).
        blocks: Block means, shape (runs, looks, A_WINDOW).
        ramp: Fall per block of a metric that falls by 1 per horizon.
    """

    ends: Ints
    blocks: Floats
    ramp: float


def windows(values: Floats, horizon: int, length: float) -> Windows:
    """Cut the last `length` horizons into block means, at `LOOKS` looks a horizon."""
    size = max(1, round(length * horizon) // A_WINDOW)
    span = size * A_WINDOW
    ends = np.arange(span, values.shape[1] + 1, max(1, horizon // LOOKS))
    sums = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    edges = ends[:, None] - span + size * np.arange(A_WINDOW + 1)
    return Windows(ends - 1, np.diff(sums[:, edges], axis=2) / size, size / horizon)
