"""Layout of the run's chart: which curves are drawn, how they are decimated, and on which axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrwatch.core.sample import Floats
from lrwatch.report.chart.axis import ChartAxis, rate_axis, value_axis
from lrwatch.report.chart.decimate import DecimatedCurve, decimate
from lrwatch.report.chart.effect_chart import DrawableEffect, drawable_effects
from lrwatch.report.chart.svg import WIDTH
from lrwatch.report.model.command_groups import CommandGroup
from lrwatch.report.model.data import MetricCurve, ReportData
from lrwatch.report.model.event_fields import integer
from lrwatch.report.model.operator_actions import StrategyPeriod, strategy_periods
from lrwatch.report.model.summary import final_level
from lrwatch.report.model.timeline import LrChange

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

# Training and validation losses of which one would take less than this share of a common axis have a panel each.
LEAST_SPAN = 0.4

# Points of a ramp of the scale.
RAMP_POINTS = 65

# Steps beyond this do not fit into the arrays.
_LARGEST_STEP = 2.0**62

# A rate with one of these words in its name was planned or commanded, beside one that was in force.
_PLANNED = ("schedule", "commanded")


@dataclass(frozen=True, slots=True)
class PlottedCurve:
    """A curve as it is drawn.

    Attributes:
        curve: The curve itself.
        name: Name in the legend.
        css: Its class of colour; `other` is the run to compare with, `planned` a rate that was not in force.
        rows: Rows for the thin line and the read-out.
        trend: Rows for the bold line.
        level: Level at its end.
    """

    curve: MetricCurve
    name: str
    css: str
    rows: DecimatedCurve
    trend: DecimatedCurve
    level: float | None


@dataclass(frozen=True, slots=True)
class ChartLayout:
    """The curves of both panels, their axes, and what is marked on them.

    Attributes:
        data: Contents of the report.
        changes: Changes of the learning rate.
        x: The step axis.
        y, y_rate: Axes of the upper and the lower panel; None where a panel has nothing to show.
        upper, lower: Curves of the two panels.
        y_validation: Axis of the validation losses, where they have a panel of their own between these; else None.
        validation: Curves of that panel.
        left_out: Names of the curves for which there is no room.
        effects: Measured effects that can be drawn.
        groups: Changes that have one mark together.
        periods: Periods of the strategies that operators chose.
    """

    data: ReportData
    changes: Sequence[LrChange]
    x: ChartAxis
    y: ChartAxis | None
    y_rate: ChartAxis | None
    upper: tuple[PlottedCurve, ...]
    lower: tuple[PlottedCurve, ...]
    left_out: tuple[str, ...]
    effects: tuple[DrawableEffect, ...]
    groups: tuple[CommandGroup, ...]
    periods: tuple[StrategyPeriod, ...]
    y_validation: ChartAxis | None = None
    validation: tuple[PlottedCurve, ...] = ()

    @property
    def losses(self) -> tuple[tuple[ChartAxis, tuple[PlottedCurve, ...]], ...]:
        """The panels of losses from top to bottom, with their axes."""
        panels = ((self.y, self.upper), (self.y_validation, self.validation))
        return tuple((axis, curves) for axis, curves in panels if axis is not None)

    @property
    def curves(self) -> tuple[PlottedCurve, ...]:
        """All curves, in the order of the read-out's numbers."""
        return self.upper + self.validation + self.lower

    def numbers(self) -> dict[str, Any]:
        """Return the numbers for the script's read-out; there is no text from outside among them."""
        return {"x": [self.x.low, self.x.high], "width": WIDTH, "curves": [_numbers(d) for d in self.curves]}


def lay_out(data: ReportData, changes: Sequence[LrChange], groups: Sequence[CommandGroup]) -> ChartLayout | None:
    """Choose and decimate the curves.

    Args:
        data: Contents of the report.
        changes: Changes of the learning rate, of `lr_changes`.
        groups: Changes that have one mark together, of `group_commands`.

    Returns:
        The layout; None if neither a curve nor an event has a step.
    """
    above = [c for i, c in enumerate(data.curves) if c.role in ("train", "val") or (i == 0 and c.role == "other")]
    rates = [c for c in data.curves if c.role == "lr"] or _scales(data, changes)
    left_out = tuple(c.name for c in (*above[MAX_CURVES:], *data.compare[MAX_CURVES:], *rates[MAX_RATES:]))
    above, rates, compare = above[:MAX_CURVES], rates[:MAX_RATES], data.compare[:MAX_CURVES]
    x = _step_axis([*above, *compare, *rates], [c.step for c in changes] + [integer(e, "step") for e in data.events])
    if x is None:
        return None
    upper = [_plotted(c, c.name, f"c{i}", x) for i, c in enumerate(above)]
    upper += [_plotted(c, f"{c.name} {data.comparison_label}".strip(), "other", x) for c in compare]
    lower = [_plotted(c, c.name, "planned" if _is_planned(c, rates) else f"r{i}", x) for i, c in enumerate(rates)]
    upper, validation = _apart(upper)
    y, y_rate = value_axis([d.rows for d in upper]), rate_axis([d.rows for d in lower])
    y_validation = value_axis([d.rows for d in validation])
    effects = tuple(drawable_effects(data, changes))
    periods = tuple(strategy_periods(data.events))
    return ChartLayout(
        data, changes, x, y, y_rate, tuple(upper), tuple(lower), left_out, effects, tuple(groups), periods,
        y_validation, tuple(validation),
    )  # fmt: skip


def _apart(curves: list[PlottedCurve]) -> tuple[list[PlottedCurve], list[PlottedCurve]]:
    """Part off the curves of the other kind than the first one where either kind would be flat on an axis of both.

    Returns:
        The curves of the first panel, and those that have a panel of their own.
    """
    own = [d for d in curves if _is_validation(d) == _is_validation(curves[0])]
    others = [d for d in curves if d not in own]
    both = value_axis([d.rows for d in curves])
    spans = [_span(both, value_axis([d.rows for d in part])) for part in (own, others)] if both else []
    return (own, others) if others and spans and min(spans) < LEAST_SPAN else (curves, [])


def _is_validation(one: PlottedCurve) -> bool:
    return one.curve.role == "val"


def _span(axis: ChartAxis, own: ChartAxis | None) -> float:
    """Return the share of an axis that curves take which have an axis of their own, too."""
    return 1.0 if own is None else axis.share(own.high) - axis.share(own.low)


def _plotted(curve: MetricCurve, name: str, css: str, x: ChartAxis) -> PlottedCurve:
    count = len(curve.values)
    rows = decimate(curve.steps, curve.values, x.low, x.high, FINE_ROWS)
    trend_rows = min(TREND_ROWS, max(TREND_MIN_ROWS, count // TREND_VALUES))
    trend = rows if count <= TREND_ROWS else decimate(curve.steps, curve.values, x.low, x.high, trend_rows)
    return PlottedCurve(curve, name, css, rows, trend, final_level(curve))


def _is_planned(curve: MetricCurve, rates: Sequence[MetricCurve]) -> bool:
    return len(rates) > 1 and any(word in curve.name.lower() for word in _PLANNED)


def _step_axis(curves: Sequence[MetricCurve], steps: Sequence[int | None]) -> ChartAxis | None:
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
    return ChartAxis(low - room, high + room)


def _scales(data: ReportData, changes: Sequence[LrChange]) -> list[MetricCurve]:
    """Return the acknowledged scale and the commanded one, as curves that begin with 1 and end with the log."""
    filled = [c.steps for c in data.curves if len(c.steps)]
    first, last = min((int(s.min()) for s in filled), default=None), max((int(s.max()) for s in filled), default=None)
    ends = [*(c.answer_step if c.answer_step is not None else c.step for c in changes[1:]), last]
    acknowledged, commanded = list[tuple[float | None, float | None]](), list[tuple[float | None, float | None]]()
    for change, until in zip(changes, ends, strict=False):  # without a change, no end either
        if change.answer == "acknowledged":
            acknowledged += _move(change, change.answer_step, until)
        if not change.not_taken_up:
            commanded += _move(change, change.step, until)
    curves = []
    for name, points in (("scale, acknowledged", acknowledged), ("scale, commanded", commanded)):
        drawn = [(float(step), scale) for step, scale in points if step is not None and scale is not None and scale > 0]
        if drawn:
            begin = [] if first is None else [(min(first, drawn[0][0]), 1.0)]
            end = [] if last is None else [(max(last, drawn[-1][0]), drawn[-1][1])]
            steps, values = (np.array(column, np.float64) for column in zip(*begin, *drawn, *end, strict=True))
            curves.append(
                MetricCurve(name, "lr", np.clip(steps, -_LARGEST_STEP, _LARGEST_STEP).astype(np.int64), values)
            )
    return curves


def _move(change: LrChange, begin: int | None, until: int | None) -> list[tuple[float | None, float | None]]:
    """Return steps and scales of a change that begins at a step: one point, or those of its ramp as far as the next change."""
    if not change.ramp_steps or begin is None or change.scale is None:
        return [(begin, change.scale)]
    shares = np.linspace(0.0, 1.0, RAMP_POINTS)
    points = [
        (begin + s * change.ramp_steps, change.before + s * (change.scale - change.before)) for s in shares.tolist()
    ]
    return [point for point in points if until is None or point[0] <= until] or [(begin, change.scale)]


def _numbers(d: PlottedCurve) -> dict[str, Any]:
    """Return first step and median of each row, and the extremes where the row is more than one value."""
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
