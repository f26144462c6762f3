"""The slope of a noisy curve, with an honest standard error under autocorrelated noise.

An ordinary least-squares slope is easy; its error is not, because training noise is correlated (smoothing in the
logger, epochs, data order). The equal-weighted cosine (EWC) estimator takes the long-run variance from the
projections of the window on B low-frequency cosines: what the noise does at low frequencies is what moves a slope.
The slope over its standard error is then Student's t with B degrees of freedom (Lazarus, Lewis, Stock & Watson 2018,
"HAR Inference: Recommendations for Practice", J. Business & Economic Statistics 36). The cosines are made orthogonal
to the constant and the trend, and the curvature is left out, so that a bent curve does not pass for noise.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from lrwatch.core.sample import Floats

# Cosines at the most. More give a sharper t and a worse picture of the lowest frequencies; 12 is where the two meet
# on autocorrelated curves of 64 blocks.
MAX_COSINES = 12

# Fewer blocks than this leave too few cosines for a useful t.
MIN_BLOCKS = 20

# Relative difference that the rounding of an outline may make: some thousand times what it does.
ROUNDING = 1e-9

# A window is averaged down to at most this many blocks: the cosines need no more, and the cached bases stay small.
MAX_BLOCKS = 128


class Slope(NamedTuple):
    """A fitted line.

    Attributes:
        per_block: Change of the mean from one block of the window to the next, in units of the metric.
        error: Standard error of `per_block`.
        df: Degrees of freedom of `per_block / error`.
        end: Height of the line at the last block.
        end_error: Standard error of `end`.
        blocks: How many blocks of the caller one block of the window averages.
    """

    per_block: float
    error: float
    df: int
    end: float
    end_error: float
    blocks: int


@lru_cache(maxsize=MAX_BLOCKS)
def _basis(n: int) -> tuple[Floats, float]:
    """Unit trend (row 0) and cosines (other rows), all orthogonal to the constant; and the length of 0..n-1 centred."""
    t = np.arange(n, dtype=np.float64)
    centred = t - t.mean()
    cosines = min(MAX_COSINES, n // 2 - 2)
    order = [2, 1, *range(3, cosines + 2)]  # the curvature first, so that all others are orthogonal to it
    columns = [np.ones(n), centred, *(np.cos(np.pi * j * (t + 0.5) / n) for j in order)]
    q, _ = np.linalg.qr(np.stack(columns, axis=1))
    rows = np.concatenate([q[:, 1:2], q[:, 3:]], axis=1).T
    length = float(np.linalg.norm(centred))
    rows[0] = centred / length
    return np.ascontiguousarray(rows), length


@lru_cache(maxsize=MAX_BLOCKS)
def _weights(n: int) -> tuple[Floats, float]:
    """What `n` values are multiplied with to give their slope, their mean and the cosines; and the length of `_basis`."""
    basis, length = _basis(n)
    return np.ascontiguousarray(np.vstack([basis[:1] / length, np.full((1, n), 1 / n), basis[1:]])), length


class Outline:
    """What `fit` finds in a window (shape (n,), n >= MIN_BLOCKS), to within rounding, at a fraction of its cost.

    It is for windows of which nothing more is wanted than to know that they are nothing special.

    Attributes:
        per_block, end, blocks: As in `Slope`.
        rounding: A thousand times the difference that rounding makes to the metric's level, or more.
    """

    __slots__ = ("_length", "_noise", "blocks", "end", "per_block", "rounding")

    def __init__(self, window: Floats) -> None:
        n = len(window)
        self.blocks = 1
        if n > MAX_BLOCKS:
            self.blocks = -(-n // MAX_BLOCKS)
            n //= self.blocks
            window = window[-n * self.blocks :].reshape(n, self.blocks).dot(np.full(self.blocks, 1 / self.blocks))
        weights, self._length = _weights(n)
        self.per_block, mean, *self._noise = weights.dot(window).tolist()
        reach = (n - 1) / 2 * self.per_block
        self.end = mean + reach
        self.rounding = ROUNDING * (abs(mean) + abs(reach)) + math.ulp(0.0)

    @property
    def df(self) -> int:
        """As in `Slope`."""
        return len(self._noise)

    @property
    def error(self) -> float:
        """As in `Slope`."""
        return math.sqrt(sum([noise * noise for noise in self._noise]) / len(self._noise)) / self._length


def fit(window: Floats) -> Slope | None:
    """The slope over `window` (shape (n,), oldest first), or None when it cannot be told.

    None means fewer than MIN_BLOCKS blocks, or values whose squares leave the range of a double.
    """
    with np.errstate(all="ignore"):
        return fit_quietly(window)


def fit_quietly(window: Floats) -> Slope | None:
    """`fit` for a caller that has told numpy not to warn: doing so costs as much as half of what is done here."""
    n = len(window)
    if n < MIN_BLOCKS:
        return None
    group = 1
    if n > MAX_BLOCKS:
        group = -(-n // MAX_BLOCKS)
        n //= group
        window = np.add.reduce(window[-n * group :].reshape(n, group), axis=1) / group
    basis, length = _basis(n)
    origin = window[-1]
    deviations = window - origin
    # Reductions by name of the ufunc: the methods of an array cost twice as much on so few values.
    scale = float(np.maximum.reduce(np.absolute(deviations)))
    if not math.isfinite(scale):
        return None
    if scale == 0.0:
        return Slope(0.0, 0.0, len(basis) - 1, float(origin), 0.0, group)
    deviations /= scale
    projections = basis.dot(deviations)
    noise = projections[1:]
    sd = scale * math.sqrt(float(noise.dot(noise)) / len(noise))  # long-run standard deviation of one block
    per_block = scale * float(projections[0]) / length
    mean = float(origin) + scale * float(np.add.reduce(deviations)) / n
    half = (n - 1) / 2
    return Slope(
        per_block=per_block,
        error=sd / length,
        df=len(basis) - 1,
        end=mean + half * per_block,
        end_error=sd * math.sqrt(1 / n + (half / length) ** 2),
        blocks=group,
    )
