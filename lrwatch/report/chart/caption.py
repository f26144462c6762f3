"""The picture in words: what it cannot show, and what those who cannot see it should know."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lrwatch.report.chart.axis import Axis, short, whole
from lrwatch.report.chart.effect_chart import compared
from lrwatch.report.chart.layout import Drawn, Scene
from lrwatch.report.model.data import ReportData

# More effects than this are not listened to; the table has them all.
MAX_TOLD = 12

GOING_ON = (
    "Dashed: the line before a change, continued, with its 95\u00a0% band; the dot at its end is the level that came."
)


def notes(scene: Scene) -> list[str]:
    """Sentences that belong below the picture: values that are not finite, not within it, not drawn at all."""
    said = [GOING_ON] if scene.effects and scene.y else []
    said += [sentence for d in scene.upper for sentence in (_not_finite(d, scene), _outside(d, scene)) if sentence]
    axis = scene.y_rate
    if axis and any((d.rows.low < axis.low).any() for d in scene.lower):
        said.append(f"Learning rates below {short(axis.low)} are only shown by arrows.")
    if scene.left_out:
        said.append(f"Not drawn, for want of room: {', '.join(scene.left_out)}.")
    return said


def description(scene: Scene) -> str:
    """The picture for those who cannot see it."""
    return " ".join(_described(scene))


def _described(scene: Scene) -> Iterator[str]:
    yield f"{scene.data.axis} {whole(round(scene.x.low))} to {whole(round(scene.x.high))}."
    for d in scene.drawn:
        finite = d.rows.finite > 0
        if finite.any():
            first = short(float(d.trend.median[d.trend.finite > 0][0]))
            last = "" if d.level is None else f" to {short(d.level)}"
            lowest, highest = short(float(d.rows.low[finite].min())), short(float(d.rows.high[finite].max()))
            yield f"{d.name}: from {first}{last}, lowest {lowest}, highest {highest}."
    for reign in scene.reigns[:MAX_TOLD]:
        end = "on" if reign.end is None else f"to {whole(reign.end)}"
        yield f"{reign.name} decides from {scene.data.axis} {whole(reign.begin)} {end}."
    for one in scene.effects[:MAX_TOLD]:
        yield f"Change {one.number} {one.words}; {compared(one.gain, scene.data.axis)}."
    yield "The changes of the learning rate and the findings are marked with the numbers of the tables that follow."


def _not_finite(d: Drawn, scene: Scene) -> str:
    count = int(d.rows.nonfinite.sum())
    if not count:
        return ""
    shown = ", shown as ticks at the lower edge" if scene.y and d.css != "other" else ""
    return f"{count:,} of {len(d.curve.values):,} values of {d.name} {'is' if count == 1 else 'are'} NaN or infinite{shown}."


def _outside(d: Drawn, scene: Scene) -> str:
    axis = scene.y
    if axis is None:
        return ""
    values = d.curve.values
    count = int(np.count_nonzero(np.isfinite(values) & ((values > axis.high) | (values < axis.low))))
    if not count:
        return ""
    lie = "lies" if count == 1 else "lie"
    furthest = _furthest(d, axis, scene.data)
    return f"{count:,} of {len(values):,} values of {d.name} {lie} outside the picture (arrows); {furthest}."


def _furthest(d: Drawn, axis: Axis, data: ReportData) -> str:
    rows = d.rows
    above = np.where(rows.high > axis.high, rows.high, -np.inf)
    below = np.where(rows.low < axis.low, rows.low, np.inf)
    # On which side lies further is asked in lengths of the axis's half, so that no difference overflows.
    if above.max() / 2 - axis.high / 2 >= axis.low / 2 - below.min() / 2:
        row = int(above.argmax())
        value, step = float(rows.high[row]), int(rows.high_step[row])
    else:
        row = int(below.argmin())
        value, step = float(rows.low[row]), int(rows.low_step[row])
    return f"the furthest is {short(value)} at {data.axis} {whole(step)}"
