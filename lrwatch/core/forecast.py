"""Where a run will end: the mean of its watched metric over the last twentieth of its steps, with an 80 % interval.

Four lines are drawn through the curve so far and continued to the end: two straight ones over the logarithm of the step,
from the last half and the last three quarters of the steps, and two power laws `a + b * step**-c`, from 0.15 and 0.05 of the
steps on. Their median is the forecast. It says where the run goes as it goes.

The interval is the forecast plus `LOWER` and `UPPER` times a unit of width, in the direction in which the metric improves:

    unit**2 = (steepest slope per e-fold * e-folds to the end)**2 + (spread of the four lines)**2 + (noise of the last mean)**2

`LOWER` and `UPPER` are the 10 % and 90 % quantiles of (end - forecast) / unit, with the correction of conformal prediction for
their number, on one half of 124 logs of other people's trainings, at 30, 50, 70 and 90 % of each run; `bench/forecast.py`
computes them again and prints how often the ends of all logs lie inside. The interval is not symmetric, and it is
wide: in most of these logs the rate decays to zero, and few of them show it. So the better bound leaves room for a decay that the
log does not show, and the forecast itself does not count on one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lrwatch.core.curve import Curve
from lrwatch.core.sample import Floats

# Share of the run, at its end, whose mean is forecast.
TAIL = 0.05
# The middle of the tail, as a share of the run.
_TARGET = 1 - TAIL / 2
# With fewer values there are not four lines worth drawing.
LEAST_VALUES = 50
# The shares of a run between which the intervals were calibrated.
EARLIEST, LATEST = 0.28, 0.92
# A phase that began later than this share of the present step is too short for the lines.
_LATEST_PHASE = 0.6
# E-folds of steps from the present to the middle of the tail, at 90, 70, 50 and 30 % of the run, and the quantiles there.
_EFOLDS = np.log(_TARGET / np.array([0.9, 0.7, 0.5, 0.3]))
LOWER = np.array([-1.3, -1.5, -2.1, -2.0])
UPPER = np.array([0.65, 0.55, 0.44, 0.28])

# Two-sided quantiles of a Gaussian.
_Z80, _Z95 = 1.2816, 1.96

_STRAIGHT = (0.5, 0.25)
_POWERS = (0.15, 0.05)
_EXPONENTS = (0.15, 0.3, 0.5, 0.8, 1.2, 2.0)
# Blocks, equal in the logarithm of the step, through which a straight line and a power law are drawn.
_BLOCKS = {"straight": 8, "power": 14}
# A step between two sixteenths of the last half that is so many times the median one is a level shift. Noise makes 4 to 5.
_SHIFT = 9.0
# A run that lost more than this share of its gain diverges.
_LOST = 0.5


class Forecast(NamedTuple):
    """A forecast of the end of a run, or the reason why there is none.

    Attributes:
        step: Step at which it is made.
        total_steps: Length of the run.
        value, lower, upper: Forecast and 80 % bounds of the mean of the last twentieth; NaN where there is none.
        reason: Why there is no forecast, as a clause, or "".
    """

    step: int
    total_steps: int
    value: float = float("nan")
    lower: float = float("nan")
    upper: float = float("nan")
    reason: str = ""

    def without(self, reason: str) -> Forecast:
        """Return the same place without a forecast, for a reason."""
        return Forecast(self.step, self.total_steps, reason=reason)

    @property
    def message(self) -> str:
        """The forecast in words."""
        if self.reason:
            return f"no forecast: {self.reason}"
        return (
            f"at this rate the run ends at {self.value:.4g} (80 % interval {self.lower:.4g} to {self.upper:.4g}); a decay of the "
            "rate may end lower, for which the better bound leaves room"
        )


def forecast(curve: Curve, total_steps: int, *, direction: str = "min", since: int = 0) -> Forecast:
    """Forecast the mean of the last twentieth of a run.

    Args:
        curve: The watched metric so far.
        total_steps: Length of the run, counted as the steps of the curve are.
        direction: "min" where the metric should fall, "max" where it should rise.
        since: First step of the present phase: what came before a change of the learning rate does not count.
    """
    step = curve.last
    reason = _why_not(curve, total_steps, since, falls=direction == "min")
    if reason:
        return Forecast(step, total_steps, reason=reason)
    lines, slopes = _lines(curve, _TARGET * total_steps, since)
    if len(lines) < 3:
        return Forecast(
            step, total_steps, reason="the values lie too unevenly over the steps to draw lines through them"
        )
    efolds = float(np.log(_TARGET * total_steps / step))
    per_step = curve.count(0.8 * step, step + 1) / (0.2 * step)
    noise = curve.deviation(0.8 * step, step + 1) / np.sqrt(max(1.0, per_step * TAIL * total_steps))
    unit = float(np.sqrt((max(map(abs, slopes)) * efolds) ** 2 + np.ptp(lines) ** 2 + noise**2))
    better, worse = np.interp(efolds, _EFOLDS, LOWER) * unit, np.interp(efolds, _EFOLDS, UPPER) * unit
    value = float(np.median(lines))
    low, high = (better, worse) if direction == "min" else (-worse, -better)
    lower, upper = float(value + low), float(value + high)
    if lower < 0 <= value and curve.smallest_mean() > 0:  # a loss that was never negative does not become so
        lower = 0.0
    return Forecast(step, total_steps, value, lower, upper)


def if_decayed(
    made: Forecast, level: float, gain: float, lower: float, upper: float, *, direction: str = "min"
) -> Forecast:
    """Forecast the end if the decay began now, at the worth of a cut of the rate that was measured and taken back.

    A decay to zero brings more than a cut as a rule, so this is what it brings at least.

    Args:
        made: The forecast of the run as it goes.
        level: The metric at present.
        gain: The effect of the cut, relative to the level; positive is better.
        lower: Lower 95 % bound of the gain.
        upper: Upper 95 % bound of the gain.
        direction: "min" where the metric should fall, "max" where it should rise.
    """
    better = -abs(level) if direction == "min" else abs(level)
    narrower = _Z80 / _Z95
    low, high = sorted(level + better * (gain + narrower * (bound - gain)) for bound in (lower, upper))
    return Forecast(made.step, made.total_steps, level + better * gain, low, high)


def ended_at(curve: Curve, total_steps: int) -> float:
    """Return what a forecast is about: the mean of the last twentieth of a run; NaN where it has no values."""
    return curve.mean((1 - TAIL) * total_steps, total_steps + 1)


def _why_not(curve: Curve, total_steps: int, since: int, *, falls: bool) -> str:
    """Return why there can be no forecast, as a clause, or ""."""
    step = curve.last
    share = step / total_steps if total_steps > 0 else 0.0
    if total_steps <= 0:
        return "the length of the run is unknown"
    if share < EARLIEST:
        return f"{100 * share:.0f} % of the run is done, and forecasts are calibrated from 30 % on"
    if share > LATEST:
        return f"{100 * share:.0f} % of the run is done, and forecasts are calibrated up to 90 %"
    if since > _LATEST_PHASE * step:
        return f"the learning rate or the level changed at step {since}, which is too recent"
    if (count := curve.count(since, step + 1)) < LEAST_VALUES:
        return f"{count} values are too few; {LEAST_VALUES} are needed"
    if curve.nonfinite >= 0.9 * step:
        return f"the value at step {curve.nonfinite} was not finite"
    levels = _levels(curve, max(since, 0.1 * step), step, 20)[1] * (1 if falls else -1)
    if (
        len(levels) > 4
        and levels[-1] - levels.min() > _LOST * (levels[0] - levels.min())
        and levels[-1] > levels[:-1].max()
    ):
        return "the metric diverges: it is worse than at any time since a tenth of its steps"
    return _shifted(curve, max(since, 0.5 * step), step)


def _shifted(curve: Curve, first: float, last: int) -> str:
    """Return the clause that names a level shift between `first` and `last`, or ""."""
    edges = np.linspace(first, last + 1, 17)
    levels = np.array([curve.mean(a, b) for a, b in pairwise(edges)])
    if not np.isfinite(levels).all():
        return ""
    moves = np.abs(np.diff(levels))
    at = int(moves.argmax())
    noise = curve.deviation(first, last + 1) / np.sqrt(max(1.0, curve.count(first, last + 1) / 16))
    if moves[at] > _SHIFT * max(float(np.median(moves)), 0.2 * float(noise)):
        return f"the level shifts near step {edges[at + 1]:.0f}"
    return ""


def _levels(curve: Curve, first: float, last: int, blocks: int) -> tuple[Floats, Floats]:
    """Return the logarithm of the step, and the mean, of blocks that are equally long in it, shape (n,) each."""
    sums = curve.window(first, last + 1)
    first = max(first, 1.0)
    at = np.log(np.maximum(sums[:, 1] / sums[:, 0], 1.0))
    edges = np.linspace(np.log(first), np.log(last + 1), blocks + 1)
    index = np.clip(np.searchsorted(edges, at, "right") - 1, 0, blocks - 1)
    counts = np.bincount(index, sums[:, 0], blocks)
    filled = counts > 0
    means = [np.bincount(index, weights, blocks)[filled] / counts[filled] for weights in (sums[:, 0] * at, sums[:, 2])]
    return means[0], means[1]


def _lines(curve: Curve, target: float, since: int) -> tuple[list[float], list[float]]:
    """Return the values of the lines at step `target`, and the slopes of the straight ones per e-fold of steps."""
    step, end = curve.last, float(np.log(target))
    lines: list[float] = []
    slopes: list[float] = []
    for share in _STRAIGHT:
        at, levels = _levels(curve, max(share * step, since), step, _BLOCKS["straight"])
        if len(at) >= 3:
            slope, offset = np.polyfit(at, levels, 1)
            slopes.append(float(slope))
            lines.append(float(offset + slope * end))
    for share in _POWERS:
        at, levels = _levels(curve, max(share * step, since, 1), step, _BLOCKS["power"])
        if len(at) >= 5:
            lines.append(min(_power_law(at, levels, exponent, end) for exponent in _EXPONENTS)[1])
    return lines, slopes or [0.0]


def _power_law(at: Floats, levels: Floats, exponent: float, end: float) -> tuple[float, float]:
    """Fit `a + b * step**-exponent`. Return the squared error of the fit, and its value at the logarithm `end`."""
    design = np.stack([np.ones_like(at), np.exp(-exponent * at)], axis=1)
    fitted, *_ = np.linalg.lstsq(design, levels, rcond=None)
    error = levels - design @ fitted
    return float(error @ error), float(fitted[0] + fitted[1] * np.exp(-exponent * end))
