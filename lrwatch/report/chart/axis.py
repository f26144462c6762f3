"""Axes of a chart: limits that a few outliers cannot spoil, and round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrwatch.core.sample import Floats
from lrwatch.report.chart.decimate import DecimatedCurve
from lrwatch.report.model.data import LARGEST
from lrwatch.report.text import tidy, whole

# A range wider than this is drawn on a logarithmic axis: below it, the lower end of a linear axis is still readable.
LOG_RATIO = 20.0

# Share of the rows at each end that may be left out of the chart, and only if they lie further away than the whole
# span of the others: 3 % is what the first fall of a language model's loss takes at most.
TRIM = 0.03

# With fewer rows than this, 3 % is less than one or two of them and says nothing about outliers.
TRIM_MIN_ROWS = 40

# Room that is left beyond the trimmed rows, as a share of their span, so that a curve enters the chart visibly.
TRIM_ROOM = 0.25

# Room between the curve and the frame, as a share of the span.
ROOM = 0.04

# A logarithmic axis stays within the powers of ten that are ordinary floats.
SMALLEST_POWER, LARGEST_POWER, LEAST_DECADES = -300.0, 307.9, 1e-3

# A span below this is noise of the floating-point representation, relative to the level.
FLAT = 1e-12

# Ticks of an axis of learning rates at the most.
MOST_RATES = 5

# A learning rate that falls to nearly zero is not followed further than this many decades below its largest value.
MAX_LR_DECADES = 6


@dataclass(frozen=True, slots=True)
class ChartAxis:
    """A linear or logarithmic axis from `low` to `high`, low < high, and 0 < low if it is logarithmic."""

    low: float
    high: float
    log: bool = False

    def place(self, values: Floats) -> Floats:
        """Return where values lie, as a share of the axis: 0 at `low`, 1 at `high`, at most one length outside."""
        with np.errstate(all="ignore"):
            if self.log:
                low, high = math.log10(self.low), math.log10(self.high)
                share = (np.log10(np.maximum(values, 0.0)) - low) / (high - low)
            else:
                share = (values - self.low) / (self.high - self.low)
        return np.clip(share, -1.0, 2.0)

    def share(self, value: float) -> float:
        """Return where one value lies, as `place` does; an infinite one lies where the largest float does."""
        return float(self.place(np.array([min(max(float(value), -LARGEST), LARGEST)]))[0])

    def ticks(self, count: int) -> list[tuple[float, str]]:
        """Return about `count` round values within the axis, with their labels."""
        return _log_ticks(self.low, self.high, count) if self.log else _linear_ticks(self.low, self.high, count)


def value_axis(curves: Sequence[DecimatedCurve]) -> ChartAxis | None:
    """Return the y axis of the loss chart, or None if there is no finite value.

    Logarithmic if all values are > 0 and their bulk spans more than `LOG_RATIO`. Each end is the extreme value, unless
    the outermost `TRIM` of the rows lie further out than the span of all others: then they are left outside.
    """
    ranges = [(c.low[c.finite > 0], c.high[c.finite > 0]) for c in curves]
    ranges = [(low, high) for low, high in ranges if len(low)]
    if not ranges:
        return None
    cores = [_core(low, high) for low, high in ranges]
    bottom, top = min(c[0] for c in cores), max(c[1] for c in cores)
    log = all(bool((low > 0).all()) for low, _ in ranges) and top / LOG_RATIO > bottom
    if log:
        ranges = [(np.log10(low), np.log10(high)) for low, high in ranges]
    ends = [_robust(low, high) for low, high in ranges]
    low, high = _with_room(min(e[0] for e in ends), max(e[1] for e in ends))
    return decades(low, high) if log else ChartAxis(low, high)


def span_axis(values: Floats) -> ChartAxis:
    """Return the linear axis that has room for all of `values`, which are finite and at least one."""
    return ChartAxis(*_with_room(float(values.min()), float(values.max())))


def rate_axis(curves: Sequence[DecimatedCurve]) -> ChartAxis | None:
    """Return the y axis of the learning rates, logarithmic over the positive values, or None if there is none.

    A short warmup that begins decades below is left outside, by the rule of `value_axis`.
    """
    lows, highs = [np.empty(0)], [np.empty(0)]
    for c in curves:
        positive = (c.finite > 0) & (c.high > 0)
        highs.append(np.log10(c.high[positive]))
        lows.append(np.log10(np.where(c.low > 0, c.low, c.high)[positive]))
    low, high = np.concatenate(lows), np.concatenate(highs)
    if not len(low):
        return None
    bottom, top = _robust(low, high)
    bottom = max(bottom, top - MAX_LR_DECADES)
    # A constant rate lies in the middle of a factor of four; any other has a tenth of its range free on both sides.
    room = max(0.1 * (top - bottom), 0.3 if top == bottom else 0.08)
    return decades(bottom - room, top + room)


def decades(low: float, high: float) -> ChartAxis:
    """Return the logarithmic axis between two powers of ten, which are brought within those that an axis can hold."""
    low = min(max(low, SMALLEST_POWER), LARGEST_POWER - LEAST_DECADES)
    return ChartAxis(10**low, 10 ** max(min(high, LARGEST_POWER), low + LEAST_DECADES), log=True)


def rate_ticks(axis: ChartAxis) -> list[tuple[float, str]]:
    """Return the ticks of an axis of learning rates: 1, 2 and 5 times the powers of ten, or the powers alone where they are many.

    Small rates are written with their power, as people write them in code.

    >>> [label for _, label in rate_ticks(ChartAxis(4e-4, 0.2, log=True))]
    ['1e-3', '0.01', '0.1']
    >>> [label for _, label in rate_ticks(ChartAxis(4e-4, 4e-3, log=True))]
    ['5e-4', '1e-3', '2e-3']
    """
    powers = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    for multiples in ((1,), (1, 3), (1, 2, 5)):
        places = [(m, p) for p in powers for m in multiples if axis.low <= m * 10.0**p <= axis.high]
        if len(places) >= 3:
            places = places[:: math.ceil(len(places) / MOST_RATES)]
            break
    if len(places) < 2:
        return axis.ticks(MOST_RATES - 1)
    return [(m * 10.0**p, f"{m}e{p}" if p <= -3 or p >= 4 else tidy(f"{m * 10.0**p:.4g}")) for m, p in places]


def step_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Return about `count` round steps from `low` to `high` with their labels, as `page.js` does.

    The unit of the labels depends on the distance of the steps.

    >>> [label for _, label in step_ticks(0, 19560, 5)]
    ['0', '5k', '10k', '15k']
    """
    spacing = max(1.0, _spacing(high - low, count))
    unit, suffix = next(u for u in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")) if spacing >= u[0])
    values = [k * spacing for k in range(math.ceil(low / spacing), math.floor(high / spacing) + 1)]
    return [(v, (whole(round(v / unit)) + suffix) if v else "0") for v in values]


def _core(low: Floats, high: Floats) -> tuple[float, float]:
    """Return the range of the rows without the outermost ones at each end."""
    if len(low) < TRIM_MIN_ROWS:
        return float(low.min()), float(high.max())
    cut = int(TRIM * len(low))
    return float(np.partition(low, cut)[cut]), float(np.partition(high, -cut - 1)[-cut - 1])


def _robust(low: Floats, high: Floats) -> tuple[float, float]:
    bottom, top = float(low.min()), float(high.max())
    inner_bottom, inner_top = _core(low, high)
    with np.errstate(over="ignore"):
        span = inner_top - inner_bottom
    if span > FLAT * max(abs(inner_top), abs(inner_bottom)):
        if top - inner_top > span:
            top = inner_top + TRIM_ROOM * span
        if inner_bottom - bottom > span:
            bottom = inner_bottom - TRIM_ROOM * span
    return bottom, top


def _with_room(low: float, high: float) -> tuple[float, float]:
    low, high = (min(max(end, -LARGEST), LARGEST) for end in (low, high))
    level = max(abs(low), abs(high))
    if high - low <= FLAT * level or level < 1e-290:
        room = 0.1 * level if level >= 1e-290 else 1.0
    else:
        room = ROOM * (high - low)
    return max(low - room, -LARGEST), min(high + room, LARGEST)


def _spacing(span: float, count: int) -> float:
    """Return the distance of 1, 2 or 5 times a power of ten that gives at most about `count` ticks."""
    raw = span / count
    power: float = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)


def _linear_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    spacing = _spacing(high - low, count)
    values = [k * spacing for k in range(math.ceil(low / spacing), math.floor(high / spacing) + 1)]
    largest = max(abs(low), abs(high))
    if largest >= 1e6 or spacing < 1e-5:
        digits = min(17, max(1, 1 + math.floor(math.log10(largest)) - math.floor(math.log10(spacing))))
        return [(v, tidy(f"{v:.{digits}g}")) for v in values]
    decimals = max(0, -math.floor(math.log10(spacing) + 1e-9))
    return [(v, tidy(f"{v:.{decimals}f}", trim=False)) for v in values]


def _log_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    powers = range(math.floor(math.log10(low)), min(308, math.ceil(math.log10(high))) + 1)
    tens = [10.0**p for p in powers if low <= 10.0**p <= high]
    if len(tens) >= 3:
        return [(v, tidy(f"{v:.4g}")) for v in tens[:: math.ceil(len(tens) / (count + 1))]]
    for multiples in ((1, 3), (1, 2, 5), (1, 2, 3, 5, 7)):
        values = [m * 10.0**p for p in powers for m in multiples if low <= m * 10.0**p <= high]
        if len(values) >= 3:
            return [(v, tidy(f"{v:.4g}")) for v in values]
    return _linear_ticks(low, high, count)
