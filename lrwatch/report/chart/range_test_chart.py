"""Chart of a range test: the level of the watched metric over the scale, and the scales that stand out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lrwatch.core.sample import Floats
from lrwatch.report.chart.axis import LOG_RATIO, ChartAxis, decades, span_axis
from lrwatch.report.chart.scale_labels import SHIFT, ScaleLabel, label_lanes, scale_labels
from lrwatch.report.chart.svg import TENTHS, WIDTH, at, stretch
from lrwatch.report.model.range_tests import RangeTestRecord, same_scale
from lrwatch.report.text import escaped, short

# Height of the panel, of a row of ticks below it and of a lane of labels above it, in pixels.
HEIGHT, TICKS, LANE = 190, 17, 17

# Room beyond the outermost scales, as a share of the logarithmic axis, and its least length as a ratio.
ROOM, LEAST_RATIO = 0.04, 1.5


def draw_range_test(test: RangeTestRecord, order: int, metric: str) -> str:
    """Draw the levels over the scales as an SVG.

    Args:
        test: The test; it has at least one scale with its level.
        order: Number that makes the ids of the title and the description unique on the page.
        metric: Name of the watched metric.
    """
    labels = scale_labels(test)
    x = _scale_axis([*test.scales.tolist(), *(label.scale for label in labels)])
    y = _level_axis(test.levels)
    placed = label_lanes(labels, x)
    top = LANE * (1 + max((lane for lane, _ in placed), default=-1)) + 6
    end = top + HEIGHT
    parts = []
    for value, words in _level_ticks(y):
        height = top + (1 - y.share(value)) * HEIGHT
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text class="tick y" x="-8" y="{height + 4:.1f}" text-anchor="end">{words}</text>')
    if test.diverges is not None:
        share = 100 * x.share(test.diverges)
        parts.append(f'<rect class="beyond" x="{share:.4g}%" width="{100 - share:.4g}%" y="{top}" height="{HEIGHT}"/>')
    parts.append(f'<line class="base" x1="0" x2="100%" y1="{end}" y2="{end}"/>')
    parts += _ticks(test, x, end)
    parts += [_hair(label, lane, test, x, y, top) for label, (lane, _) in zip(labels, placed, strict=True)]
    parts.append(stretch(f'<path class="trend c0" d="{_path(test, x, y)}"/>', top, HEIGHT))
    parts += _points(test, x, y, top)
    for label, (lane, anchor) in zip(labels, placed, strict=True):
        position = f'x="{SHIFT[anchor]}" y="{top - 10 - LANE * lane}" text-anchor="{anchor}"'
        parts.append(at(x.share(label.scale), f'<text class="name {label.css}" {position}>{label.words}</text>'))
    height = end + TICKS * (1 if test.rate is None else 2) + 6
    title, description = f"range-{order}-title", f"range-{order}-words"
    return (
        f'<svg class="chart" role="img" aria-labelledby="{title} {description}" width="100%" height="{height}">'
        f'<title id="{title}">{escaped(metric)} over the scale of the learning rate</title>'
        f'<desc id="{description}">{escaped(_description(test, labels), 4000)}</desc>{"".join(parts)}</svg>'
    )


def _description(test: RangeTestRecord, labels: Sequence[ScaleLabel]) -> str:
    """Describe the chart for those who cannot see it."""
    pairs = zip(test.scales.tolist(), test.levels.tolist(), strict=True)
    levels = ", ".join(f"{short(level)} at {short(scale)}" for scale, level in pairs)
    marked = "; ".join(label.words for label in labels)
    return f"Levels by scale: {levels}." + (f" Marked: {marked}." if marked else "")


def _ticks(test: RangeTestRecord, x: ChartAxis, end: float) -> list[str]:
    """Draw round scales below the panel, and below those the learning rates that they are, where that is known."""
    parts = [f'<text class="tick noun" x="-8" y="{end + 16}" text-anchor="end">scale</text>']
    if test.rate is not None:
        parts.append(f'<text class="tick noun" x="-8" y="{end + 16 + TICKS}" text-anchor="end">rate</text>')
    for value, words in x.ticks(4):
        both = f'<text class="tick x" y="{end + 16}" text-anchor="middle">{words}</text>'
        if test.rate is not None:
            rate = short(value * test.rate)
            both += f'<text class="tick x" y="{end + 16 + TICKS}" text-anchor="middle">{rate}</text>'
        parts.append(at(x.share(value), f'<line class="base" y1="{end}" y2="{end + 4}"/>{both}'))
    return parts


def _hair(label: ScaleLabel, lane: int, test: RangeTestRecord, x: ChartAxis, y: ChartAxis, top: float) -> str:
    """Draw a line from a label down to the point of its scale, or through the panel where it has none."""
    level = _level_at(test, label.scale)
    through = level is None or label.css in ("use", "diverges")
    end = top + HEIGHT if through or level is None else top + (1 - y.share(level)) * HEIGHT
    return at(x.share(label.scale), f'<line class="hair {label.css}" y1="{top - 6 - LANE * lane}" y2="{end:.1f}"/>')


def _points(test: RangeTestRecord, x: ChartAxis, y: ChartAxis, top: float) -> list[str]:
    parts = []
    marked = (("valley", test.valley), ("steepest", test.steepest))
    for scale, level in zip(test.scales.tolist(), test.levels.tolist(), strict=True):
        css = [name for name, other in marked if other is not None and same_scale(other, scale)]
        radius = 5.5 if css else 3.5
        words = f"{short(level)} at scale {short(scale)}"
        if test.rate is not None:
            words += f", learning rate {short(scale * test.rate)}"
        height = top + (1 - y.share(level)) * HEIGHT
        dot = f'<circle class="{" ".join(["point", *css])}" cy="{height:.1f}" r="{radius}"><title>{words}</title></circle>'
        parts.append(at(x.share(scale), dot))
    return parts


def _path(test: RangeTestRecord, x: ChartAxis, y: ChartAxis) -> str:
    across = np.rint(x.place(test.scales) * WIDTH).astype(np.int64).tolist()
    down = np.rint((1 - y.place(test.levels)) * HEIGHT * TENTHS).astype(np.int64).tolist()
    return "M" + "L".join(f"{a} {b}" for a, b in zip(across, down, strict=True))


def _scale_axis(scales: Sequence[float]) -> ChartAxis:
    low, high = math.log(min(scales)), math.log(max(scales))
    room = max(ROOM * (high - low), (math.log(LEAST_RATIO) - (high - low)) / 2)
    return ChartAxis(math.exp(low - room), math.exp(high + room), log=True)


def _level_axis(levels: Floats) -> ChartAxis:
    low, high = float(levels.min()), float(levels.max())
    if low > 0 and high / LOG_RATIO > low:
        ends = span_axis(np.log10(levels))
        return decades(ends.low, ends.high)
    return span_axis(levels)


def _level_ticks(y: ChartAxis) -> list[tuple[float, str]]:
    """Choose at least two ticks, so that a difference can be read."""
    return next((ticks for count in (4, 6, 8) if len(ticks := y.ticks(count)) > 1), y.ticks(12))


def _level_at(test: RangeTestRecord, scale: float) -> float | None:
    pairs = zip(test.scales.tolist(), test.levels.tolist(), strict=True)
    return next((level for own, level in pairs if same_scale(own, scale)), None)
