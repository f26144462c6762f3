"""The run's chart in words: what it cannot show, and a description for those who cannot see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lrwatch.report.chart.axis import ChartAxis
from lrwatch.report.chart.effect_chart import levels_in_words
from lrwatch.report.chart.layout import ChartLayout, PlottedCurve
from lrwatch.report.model.data import ReportData
from lrwatch.report.text import short, whole

# Nobody listens to more effects than this; the table has them all.
MAX_DESCRIBED = 12


class LegendItem(NamedTuple):
    """One kind of mark of the chart.

    Attributes:
        css: Class of its sample.
        sample: Text of the sample, or "" where it is drawn.
        words: What it means.
    """

    css: str
    sample: str
    words: str


def legend(layout: ChartLayout) -> list[LegendItem]:
    """Return the marks that this chart has, and what they mean."""
    answers = {change.answer for change in layout.changes}
    kinds = {str(event.get("event")) for event in layout.data.events}
    noun = layout.data.axis
    items = [
        (
            bool(layout.changes),
            LegendItem("mark", "1", "change of the learning rate, with its number in the table below"),
        ),
        ("finding" in kinds, LegendItem("mark found", "F1", "finding, with its number in the table below")),
        ("acknowledged" in answers, LegendItem("tick", "\u2713", "the trainer applied the change")),
        ("rejected" in answers, LegendItem("cross", "\u2717", "the trainer refused it")),
        (
            bool(layout.effects and layout.y),
            LegendItem("dash", "", "dashed: the line before a change, continued, with its 95\u00a0% band"),
        ),
        (bool(layout.effects and layout.y), LegendItem("dot", "", "the level that was measured instead")),
        (bool(layout.data.marks), LegendItem("circle", "", "change of the learning rate of that run")),
        ("phase" in kinds, LegendItem("shade", "", f"phase: {noun}s between two changes of the learning rate")),
        (any(_has_both(d) for d in layout.upper), LegendItem("bold", "", "thin: each value; bold: the median of many")),
        (
            any(_beyond(d, axis) for axis, curves in layout.losses for d in curves),
            LegendItem("arrow", "\u25b2", "values outside the picture"),
        ),
    ]
    return [item for holds, item in items if holds]


def _has_both(d: PlottedCurve) -> bool:
    return d.trend is not d.rows


def _beyond(d: PlottedCurve, axis: ChartAxis) -> bool:
    return bool((d.rows.high > axis.high).any() or (d.rows.low < axis.low).any())


def notes(layout: ChartLayout) -> list[str]:
    """Return the sentences below the chart: values that are not finite, not within it, not drawn at all."""
    panels = layout.losses or ((None, layout.upper),)
    sentences = [
        sentence
        for axis, curves in panels
        for d in curves
        for sentence in (_not_finite(d, layout), _outside(d, layout, axis))
        if sentence
    ]
    axis = layout.y_rate
    if axis and any((d.rows.low < axis.low).any() for d in layout.lower):
        sentences.append(f"Learning rates below {short(axis.low)} are only shown by arrows.")
    if layout.left_out:
        sentences.append(f"Not drawn, for want of room: {', '.join(layout.left_out)}.")
    return sentences


def description(layout: ChartLayout) -> str:
    """Describe the chart for those who cannot see it."""
    return " ".join(_described(layout))


def _described(layout: ChartLayout) -> Iterator[str]:
    yield f"{layout.data.axis} {whole(round(layout.x.low))} to {whole(round(layout.x.high))}."
    for d in layout.curves:
        finite = d.rows.finite > 0
        if finite.any():
            first = short(float(d.trend.median[d.trend.finite > 0][0]))
            last = "" if d.level is None else f" to {short(d.level)}"
            lowest, highest = short(float(d.rows.low[finite].min())), short(float(d.rows.high[finite].max()))
            yield f"{d.name}: from {first}{last}, lowest {lowest}, highest {highest}."
    for period in layout.periods[:MAX_DESCRIBED]:
        end = "on" if period.end is None else f"to {whole(period.end)}"
        yield f"{period.name} decides from {layout.data.axis} {whole(period.begin)} {end}."
    for one in layout.effects[:MAX_DESCRIBED]:
        yield f"Change {one.number} {one.words}; {levels_in_words(one.effect, layout.data.axis)}."
    yield "The changes of the learning rate and the findings are marked with the numbers of the tables that follow."


def _not_finite(d: PlottedCurve, layout: ChartLayout) -> str:
    count = int(d.rows.nonfinite.sum())
    if not count:
        return ""
    shown = ", shown as ticks at the lower edge" if layout.y and d.css != "other" else ""
    if d.curve.stands_for:  # how many there were is not known
        return f"There are values of {d.name} that are NaN or infinite{shown}."
    return f"{count:,} of {len(d.curve.values):,} values of {d.name} {'is' if count == 1 else 'are'} NaN or infinite{shown}."


def _outside(d: PlottedCurve, layout: ChartLayout, axis: ChartAxis | None) -> str:
    if axis is None:
        return ""
    values = d.curve.values
    count = int(np.count_nonzero(np.isfinite(values) & ((values > axis.high) | (values < axis.low))))
    if not count:
        return ""
    lie = "lies" if count == 1 else "lie"
    furthest = _furthest(d, axis, layout.data)
    if d.curve.stands_for:
        return f"There are values of {d.name} outside the picture; {furthest}."
    return f"{count:,} of {len(values):,} values of {d.name} {lie} outside the picture; {furthest}."


def _furthest(d: PlottedCurve, axis: ChartAxis, data: ReportData) -> str:
    rows = d.rows
    above = np.where(rows.high > axis.high, rows.high, -np.inf)
    below = np.where(rows.low < axis.low, rows.low, np.inf)
    # The two sides are compared in halves, so that no difference overflows.
    if above.max() / 2 - axis.high / 2 >= axis.low / 2 - below.min() / 2:
        row = int(above.argmax())
        value, step = float(rows.high[row]), int(rows.high_step[row])
    else:
        row = int(below.argmin())
        value, step = float(rows.low[row]), int(rows.low_step[row])
    return f"the furthest is {short(value)} at {data.axis} {whole(step)}"
