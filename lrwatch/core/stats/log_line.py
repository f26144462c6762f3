"""A line through the newest part of a curve over the logarithm of its steps, with honest errors.

Training losses fall about evenly over the logarithm of the steps, so such a line is straight where one over the steps is
bent. Blocks of the curve are joined to GROUPS groups of neighbours, and a weighted least-squares line is put through their
means. The scatter of the groups around it gives the noise, which is therefore that of means over many values: noise that is
correlated within a group is counted in full. What is left of the correlation from group to group, estimated at lag one
with the bias of a fit taken off, widens all errors as in a first-order autoregression.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from lrwatch.core.curve import Curve
from lrwatch.core.sample import Floats, Ints

# Groups that a window is joined to: their scatter is known to a tenth, and each is a mean over many values in all but short runs.
GROUPS = 60

# With fewer blocks there is no line.
MIN_BLOCKS = 16

# Correlations of neighbouring groups above this are not believed: so few groups cannot show them.
MAX_CORRELATION = 0.9


class LogLine(NamedTuple):
    """A fitted line.

    Attributes:
        first, step: The first step that it was fitted to, and the step at which it ends.
        level, level_variance: Its height there.
        gain, gain_variance: By how much it falls while the number of steps grows e-fold, in units of the metric.
        noise: Variance of one value around it, as a mean over many values has it.
        df: Degrees of freedom that `noise` is known with.
    """

    first: float
    step: int
    level: float
    level_variance: float
    gain: float
    gain_variance: float
    noise: float
    df: int = GROUPS - 2

    @property
    def gain_error(self) -> float:
        """Standard error of `gain`."""
        return math.sqrt(self.gain_variance)


def fit(curve: Curve, first: float, end: int, sign: float = 1.0) -> LogLine | None:
    """Fit the line to the values of `curve` from step `first` to before step `end`.

    Args:
        curve: The curve.
        first: First step of the window.
        end: Step behind it, where the line ends.
        sign: +1 for a metric to minimise, -1 for one to maximise; levels and gains are those of sign * metric.

    Returns:
        The line, or None where the window has too few blocks.

    >>> curve = Curve()
    >>> steps = np.arange(1, 1001)
    >>> curve.add(steps, 5 - 2 * np.log(steps))
    >>> line = fit(curve, 500, 1001)
    >>> round(line.gain, 2), round(line.level, 1)
    (2.0, -8.8)
    """
    sums = curve.window(first, end)
    if len(sums) < MIN_BLOCKS:
        return None
    joined = _joined(sums)
    count, at, level = joined[:, 0], np.log1p(joined[:, 1] / joined[:, 0]), sign * joined[:, 2] / joined[:, 0]
    total = float(count.sum())
    mean_at, mean = float(count @ at) / total, float(count @ level) / total
    along = at - mean_at
    spread = float(count @ (along * along))
    if spread <= 0:
        return None
    slope = float(count @ (along * (level - mean))) / spread
    residual = (level - mean - slope * along) * np.sqrt(count)
    squares = float(residual @ residual)
    noise = squares / max(1, len(joined) - 2)
    if squares > 0:
        correlation = float(residual[1:] @ residual[:-1]) / squares + 1 / len(joined)
        correlation = min(max(correlation, 0.0), MAX_CORRELATION)
        noise *= (1 + correlation) / (1 - correlation)
    ahead = math.log1p(end) - mean_at
    return LogLine(
        first=float(sums[0, 1] / sums[0, 0]),
        step=end,
        level=mean + slope * ahead,
        level_variance=noise * (1 / total + ahead * ahead / spread),
        gain=-slope,
        gain_variance=noise / spread,
        noise=noise,
        df=len(joined) - 2,
    )


def _joined(sums: Floats) -> Floats:
    """Return the sums of GROUPS groups of neighbours, or of all blocks where there are fewer."""
    if len(sums) <= GROUPS:
        return sums
    return np.asarray(np.add.reduceat(sums, _edges(len(sums)), axis=0))


@lru_cache(maxsize=1024)
def _edges(blocks: int) -> Ints:
    return np.linspace(0, blocks, GROUPS + 1).astype(np.int64)[:-1]
