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
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lrwatch.core.sample import Floats

# Cosines at the most. More give a sharper t and a worse picture of the lowest frequencies; 12 is where the two meet
# on autocorrelated curves of 64 blocks.
MAX_COSINES = 12

# Fewer blocks than this leave too few cosines for a useful t.
MIN_BLOCKS = 20

# A window is averaged down to at most this many blocks: the cosines need no more, and the cached bases stay small.
MAX_BLOCKS = 128


@dataclass(frozen=True, slots=True)
class Slope:
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


def fit(window: Floats) -> Slope | None:
    """The slope over `window` (shape (n,), oldest first), or None when it cannot be told.

    None means fewer than MIN_BLOCKS blocks, or values whose squares leave the range of a double.
    """
    if len(window) < MIN_BLOCKS:
        return None
    group = -(-len(window) // MAX_BLOCKS)
    n = len(window) // group
    basis, length = _basis(n)
    with np.errstate(all="ignore"):
        if group > 1:
            window = window[-n * group :].reshape(n, group).mean(axis=1)
        origin = window[-1]
        deviations = window - origin
        scale = float(np.abs(deviations).max())
        if not np.isfinite(scale):
            return None
        if scale == 0.0:
            return Slope(0.0, 0.0, len(basis) - 1, float(origin), 0.0, group)
        deviations /= scale
        projections = basis @ deviations
        noise = projections[1:]
        sd = scale * math.sqrt(float(noise @ noise) / len(noise))  # long-run standard deviation of one block
        per_block = scale * float(projections[0]) / length
        mean = float(origin) + scale * float(deviations.sum()) / n
        half = (n - 1) / 2
        return Slope(
            per_block=per_block,
            error=sd / length,
            df=len(basis) - 1,
            end=mean + half * per_block,
            end_error=sd * math.sqrt(1 / n + (half / length) ** 2),
            blocks=group,
        )
