"""What will be on the picture: which curves, thinned how, on which axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrwatch.core.sample import Floats
from lrwatch.report.chart.axis import Axis, rate_axis, value_axis
from lrwatch.report.chart.decimate import Thinned, thin
from lrwatch.report.chart.effect_chart import Shown, shown
from lrwatch.report.chart.svg import WIDTH
from lrwatch.report.model.command_groups import Series, in_series
from lrwatch.report.model.data import Curve, ReportData
from lrwatch.report.model.operator_actions import Reign, reigns
from lrwatch.report.model.timeline import Change, final_level, integer

# Rows of the thin line and of the read-out: about one for each pixel of a wide page.
FINE_ROWS = 900

# Rows of the bold line: few enough that noise averages out, enough that a cut of the learning rate stays a corner.
TREND_ROWS = 160

# A row of the bold line stands for at least this many values, as long as that leaves it `TREND_MIN_ROWS`: the median of
# fewer jumps about where the noise has two humps, as it has in training with mixed-up pictures.
TREND_VALUES = 64
TREND_MIN_ROWS = 100

# A curve of no more values than this gets a dot for each, and the axis room for the dots at its ends.
MAX_DOTS = 60
DOT_ROOM = 0.01

# Lines that can be told apart, in each of the two panels.
MAX_CURVES = 6
MAX_RATES = 4

# Steps beyond this do not fit into the arrays.
_LARGEST_STEP = 2.0**62

# A rate with one of these words in its name is what was planned or asked for, beside one that was in force.
_WISHES = ("schedule", "asked")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A curve as it is drawn.

    Attributes:
        curve: The curve itself.
        name: What the legend calls it.
        css: Its class of colour; `other` is the run to compare with, `asked` a rate that was not in force.
        rows: Its rows for the thin line and the read-out.
        trend: Its rows for the bold line.
        level: Where it ends.
    """

    curve: Curve
    name: str
    css: str
    rows: Thinned
    trend: Thinned
    level: float | None


@dataclass(frozen=True, slots=True)
class Scene:
    """The curves of both panels and their axes; an axis is None where a panel has nothing to show.

    `series` are the changes that have one mark together, `reigns` the strategies that operators made decide.
    """

    data: ReportData
    changes: Sequence[Change]
    x: Axis
    y: Axis | None
    y_rate: Axis | None
    upper: tuple[Drawn, ...]
    lower: tuple[Drawn, ...]
    left_out: tuple[str, ...]
    effects: tuple[Shown, ...]
    series: tuple[Series, ...]
    reigns: tuple[Reign, ...]

    @property
    def drawn(self) -> tuple[Drawn, ...]:
        """All curves, in the order of the read-out's numbers."""
        return self.upper + self.lower

    def numbers(self) -> dict[str, Any]:
        """For the read-out of the script: numbers only, no text from outside."""
        return {"x": [self.x.low, self.x.high], "width": WIDTH, "curves": [_numbers(d) for d in self.drawn]}


def set_scene(data: ReportData, changes: Sequence[Change]) -> Scene | None:
    """Choose and thin the curves; None if neither a curve nor an event has a step."""
    above = [c for i, c in enumerate(data.curves) if c.role in ("train", "val") or (i == 0 and c.role == "other")]
    rates = [c for c in data.curves if c.role == "lr"] or _scales(data, changes)
    left_out = tuple(c.name for c in (*above[MAX_CURVES:], *data.compare[MAX_CURVES:], *rates[MAX_RATES:]))
    above, rates, compare = above[:MAX_CURVES], rates[:MAX_RATES], data.compare[:MAX_CURVES]
    x = _step_axis([*above, *compare, *rates], [c.step for c in changes] + [integer(e, "step") for e in data.events])
    if x is None:
        return None
    upper = [_drawn(c, c.name, f"c{i}", x) for i, c in enumerate(above)]
    upper += [_drawn(c, f"{c.name} {data.comparison_label}".strip(), "other", x) for c in compare]
    lower = [_drawn(c, c.name, "asked" if _is_wish(c, rates) else f"r{i}", x) for i, c in enumerate(rates)]
    y, y_rate = value_axis([d.rows for d in upper]), rate_axis([d.rows for d in lower])
    effects = tuple(shown(data, changes))
    series, decided = tuple(in_series(changes, data.events)), tuple(reigns(data.events))
    return Scene(data, changes, x, y, y_rate, tuple(upper), tuple(lower), left_out, effects, series, decided)


def _drawn(curve: Curve, name: str, css: str, x: Axis) -> Drawn:
    count = len(curve.values)
    rows = thin(curve.steps, curve.values, x.low, x.high, FINE_ROWS)
    trend_rows = min(TREND_ROWS, max(TREND_MIN_ROWS, count // TREND_VALUES))
    trend = rows if count <= TREND_ROWS else thin(curve.steps, curve.values, x.low, x.high, trend_rows)
    return Drawn(curve, name, css, rows, trend, final_level(curve))


def _is_wish(curve: Curve, rates: Sequence[Curve]) -> bool:
    return len(rates) > 1 and any(word in curve.name.lower() for word in _WISHES)


def _step_axis(curves: Sequence[Curve], steps: Sequence[int | None]) -> Axis | None:
    ends = [float(s) for s in steps if s is not None]
    for c in curves:
        if len(c.steps):
            ends += [float(c.steps.min()), float(c.steps.max())]
    if not ends:
        return None
    low, high = min(ends), max(ends)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        # All steps are one, or too large to be told apart.
        room = max(1.0, 1e-6 * abs(low))
    else:
        room = DOT_ROOM * (high - low) if all(len(c.steps) <= MAX_DOTS for c in curves) else 0.0
    return Axis(low - room, high + room)


def _scales(data: ReportData, changes: Sequence[Change]) -> list[Curve]:
    """The acknowledged scale and the one asked for, as curves that begin with 1 and end with the log."""
    filled = [c.steps for c in data.curves if len(c.steps)]
    first, last = min((int(s.min()) for s in filled), default=None), max((int(s.max()) for s in filled), default=None)
    given = [(c.answer_step, c.scale) for c in changes if c.answer == "acknowledged"]
    asked = [(c.step, c.scale) for c in changes]
    found = []
    for name, points in (("scale, acknowledged", given), ("scale, asked for", asked)):
        kept = [(float(step), scale) for step, scale in points if step is not None and scale is not None and scale > 0]
        if kept:
            begin = [] if first is None else [(min(first, kept[0][0]), 1.0)]
            end = [] if last is None else [(max(last, kept[-1][0]), kept[-1][1])]
            steps, values = (np.array(column, np.float64) for column in zip(*begin, *kept, *end, strict=True))
            found.append(Curve(name, "lr", np.clip(steps, -_LARGEST_STEP, _LARGEST_STEP).astype(np.int64), values))
    return found


def _numbers(d: Drawn) -> dict[str, Any]:
    """First step and median of each row, and the extremes where the row is more than one value."""
    alone = d.rows.finite <= 1
    return {
        "hold": d.curve.role == "lr",
        "s": d.rows.first.tolist(),
        "m": _rounded(d.rows.median),
        "l": _rounded(np.where(alone, np.nan, d.rows.low)),
        "h": _rounded(np.where(alone, np.nan, d.rows.high)),
    }


def _rounded(values: Floats) -> list[float | None]:
    return [float(f"{v:.4g}") if math.isfinite(v) else None for v in values.tolist()]
