"""Chart of a run as one SVG: the watched metric above, the learning rate or its scale below, one step axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from lrwatch.report.chart.axis import ChartAxis, rate_ticks, step_ticks
from lrwatch.report.chart.caption import description
from lrwatch.report.chart.effect_chart import continued_lines, outcome_dots
from lrwatch.report.chart.layout import MAX_DOTS, TREND_ROWS, ChartLayout, PlottedCurve
from lrwatch.report.chart.svg import (
    BADGE,
    NARROW,
    TENTHS,
    WIDTH,
    StepMark,
    arrows,
    at,
    badge,
    badges,
    dots,
    line,
    stretch,
    ticks_below,
)
from lrwatch.report.model.command_groups import groups_by_number, merged_phases
from lrwatch.report.model.event_fields import integer, of_kind, text
from lrwatch.report.model.finding_kinds import BAD_KINDS
from lrwatch.report.text import escaped, short, spaced, whole

# Bands and hairlines beyond these numbers would cover the curve; the tables are capped at the same number.
MAX_PHASES = 60
MAX_MARKS = 200

# More findings than this are marked by short strokes instead of lines through the panel, which would hide the curve.
MAX_HAIRS, SHORT_HAIR = 30, 14

# Heights in pixels: a panel's title, a lane of badges, the two panels, the strip of phases between, the step axis.
TITLE, LANE, UPPER, LOWER, STRIP, FOOT = 22, 23, 320, 110, 20, 30

# Height of each of two panels of losses, and the room between them.
SHARED, BETWEEN = 220, 34

# Height of the strip of strategies, length of the stroke that marks one of many changes, and least distance of two lines.
PERIODS, STROKE, CROWD = 22, 6, 4

# Width of a letter of a phase's label, and the room beside it, in pixels.
LETTER, BESIDE = 6, 8

_CAUSES = {"lr_change": "LR change"}


def cause_words(cause: str) -> str:
    """Name the cause of a phase as people read it."""
    return _CAUSES.get(cause, spaced(cause))


def draw_run(layout: ChartLayout) -> str:
    """Draw title, lanes of badges, upper panel, strip of phases, lower panel and the step axis, from top to bottom.

    The marks carry the numbers of the tables.

    Returns:
        The SVG; empty if no curve has a value that can be drawn.
    """
    data, x, y, y_rate = layout.data, layout.x, layout.y, layout.y_rate
    if y is None and y_rate is None:
        return ""
    changes, findings = _change_marks(layout), _finding_marks(layout)
    lanes = [lane for lane in (changes, findings) if lane]
    first_lane = TITLE + (PERIODS if layout.periods else 0)
    top = first_lane + LANE * len(lanes) + 3
    height = UPPER if len(layout.losses) < 2 else SHARED
    panels = [(top + i * (height + BETWEEN), axis, curves) for i, (axis, curves) in enumerate(layout.losses)]
    bottom = panels[-1][0] + height if panels else top
    labels, bands = _phases(layout, bottom)
    strip = bottom + (STRIP if labels else 4)
    end = strip + TITLE + LOWER if y_rate else bottom
    foot = end if y_rate else strip

    parts = [stretch(bands, top, end - top)] if bands else []
    for i, (at_y, axis, curves) in enumerate(panels):
        title = data.metric if len(panels) == 1 else ", ".join(d.name for d in curves)
        kind = (", logarithmic axis" if axis.log else "") + (", own axis" if i else "")
        name_y = 13 if i == 0 else at_y - 8
        parts.append(f'<text class="name" x="0" y="{name_y:g}">{escaped(title)}{kind}</text>')
        parts += _grid(axis, at_y, height, axis.ticks(6 if len(panels) == 1 else 4))
    if y_rate:
        kind = "learning rate" if any(c.role == "lr" for c in data.curves) else "scale of the learning rate"
        parts.append(f'<text class="name" x="0" y="{strip + 13}">{kind}, logarithmic axis</text>')
        parts += _grid(y_rate, strip + TITLE, LOWER, rate_ticks(y_rate))
    reach = bottom if len(findings) <= MAX_HAIRS else top + SHORT_HAIR
    parts += [at(s, f'<line class="hair {m.css}" y1="{top}" y2="{reach}"/>') for s, m in _placed(findings, x)]
    parts += _change_hairs(layout, changes, top, end)
    for at_y, axis, curves in panels:
        effects = layout.effects[:MAX_MARKS] if curves is layout.upper else ()  # they are of the metric that decides
        drawn = "".join(_curve(d, x, axis, height) for d in reversed(curves))
        parts.append(stretch(drawn + continued_lines(effects, x, axis, height), at_y, height))
        for d in curves:
            parts += arrows(d.name, d.css, d.rows, x, axis, at_y, height, data.axis)
        parts += outcome_dots(effects, x, axis, at_y, height, data.axis)
        parts += _curve_marks(layout, curves, axis, at_y, height)
    if y_rate:
        in_order = sorted(layout.lower, key=lambda d: d.css != "planned")
        parts.append(stretch("".join(_rate(d, x, y_rate) for d in in_order), strip + TITLE, LOWER))
        for d in in_order:
            parts += arrows(d.name, d.css, d.rows, x, y_rate, strip + TITLE, LOWER, data.axis)
        parts += _answers(layout, end)
    parts += labels
    parts += _periods(layout)
    if changes:
        parts += _group_spans(layout, first_lane)
    for lane, marks in enumerate(lanes):
        parts += [badge(b, first_lane + LANE * lane) for b in badges(marks, x)]
    parts += _steps(x, foot, data.axis)
    return (
        f'<svg class="chart" role="group" aria-labelledby="chart-title chart-words" width="100%" '
        f'height="{foot + FOOT}" data-top="{top}" data-end="{end}" data-foot="{foot}">'
        f'<title id="chart-title">{escaped(data.metric)} of {escaped(data.run)}</title>'
        f'<desc id="chart-words">{escaped(description(layout), 4000)}</desc>{"".join(parts)}</svg>'
    )


def _finding_marks(layout: ChartLayout) -> list[StepMark]:
    """Mark the findings F1, F2, ... in the order of the events; one without a step is not in the chart."""
    marks = []
    for number, event in enumerate(of_kind(layout.data.events, "finding")[:MAX_MARKS], 1):
        step, kind = integer(event, "step"), text(event, "kind")
        if step is not None:
            css = "bad" if kind in BAD_KINDS else "found"
            words = f"F{number}, {kind} at {layout.data.axis} {whole(step)}"
            marks.append(StepMark(float(step), f"F{number}", words, f"finding-{number}", css))
    return marks


def _change_marks(layout: ChartLayout) -> list[StepMark]:
    """Mark the changes 1, 2, ... in the order of the table; those of a group lead to its row."""
    marks = []
    owners = groups_by_number(layout.groups)
    for number, change in enumerate(layout.changes[:MAX_MARKS], 1):
        if change.step is None:
            continue
        if (group := owners.get(number)) is not None:
            words = f"{group.first} to {group.last}, {group.name}"
            marks.append(StepMark(float(change.step), str(number), words, group.row, "change", group.row))
        else:
            scale = "unknown" if change.scale is None else short(change.scale)
            words = f"{number}, scale {scale} at {layout.data.axis} {whole(change.step)}"
            marks.append(StepMark(float(change.step), str(number), words, f"change-{number}", "change"))
    return marks


def _change_hairs(layout: ChartLayout, marks: Sequence[StepMark], top: float, end: float) -> list[str]:
    """Draw a line through both panels at each change, a short stroke for each further one of a group or of a crowd.

    Many lines would hide the curve.
    """
    drawn, begun, newest = [], set[str](), -math.inf
    for share, mark in _placed(marks, layout.x):
        further = mark.group in begun or (share - newest) * NARROW < CROWD
        begun |= {mark.group} - {""}
        newest = newest if further else share
        reach = top + STROKE if further else end
        drawn.append(at(share, f'<line class="hair {mark.css}" y1="{top - 4}" y2="{reach}"/>'))
    return drawn


def _group_spans(layout: ChartLayout, y: float) -> list[str]:
    """Draw a line from the first change of a group to its last, in the lane of the changes."""
    paths = []
    for one in layout.groups:
        steps = [float(c.step) for c in one.changes if c.step is not None]
        if steps and one.first <= MAX_MARKS:
            begin, end = (round(share * WIDTH) for share in layout.x.place(np.array([min(steps), max(steps)])).tolist())
            paths.append(f'<path class="group-span" d="M{begin} {BADGE * TENTHS / 2:g}H{end}"/>')
    return [stretch("".join(paths), y, BADGE)] if paths else []


def _periods(layout: ChartLayout) -> list[str]:
    """Draw a line from the beginning to the end of each strategy's period, with its name where there is room for it."""
    paths, names = [], []
    for one in layout.periods[:MAX_PHASES]:
        last = layout.x.high if one.end is None else float(one.end)
        begin, end = layout.x.place(np.array([float(one.begin), last])).tolist()
        title = f"<title>{escaped(one.words)}</title>"
        left, right = round(begin * WIDTH), round(end * WIDTH)
        paths.append(f'<path class="period" d="M{left} {(PERIODS - 4) * TENTHS}v-50v50H{right}">{title}</path>')
        if (end - begin) * NARROW > BESIDE + LETTER * len(one.name):
            names.append(
                at(begin, f'<text class="phase" x="4" y="{PERIODS - 8}">{escaped(one.name)}{title}</text>', TITLE)
            )
    return [stretch("".join(paths), TITLE, PERIODS), *names] if paths else []


def _curve_marks(
    layout: ChartLayout, curves: Sequence[PlottedCurve], y: ChartAxis, top: float, height: float
) -> list[str]:
    """Draw a ring on the curve of each of several runs where its learning rate changed."""
    drawn = []
    by_name = {d.name: d for d in curves}
    for mark in layout.data.marks[:MAX_MARKS]:
        d = by_name.get(mark.curve)
        if d is None or not len(d.trend):
            continue
        row = int(np.searchsorted(d.trend.first, mark.step, side="right")) - 1
        level = float(d.trend.median[max(row, 0)])
        if not math.isfinite(level):
            continue
        at_y = top + (1 - min(max(y.share(level), 0.0), 1.0)) * height
        ring = (
            f'<circle class="ring {d.css}" cx="0" cy="{at_y:.1f}" r="5"><title>{escaped(mark.words)}</title></circle>'
        )
        drawn.append(at(layout.x.share(mark.step), ring))
    return drawn


def _curve(d: PlottedCurve, x: ChartAxis, y: ChartAxis, height: float) -> str:
    count = len(d.curve.values)
    path = line(d.trend.medians(), x, y, height)
    parts = [f'<path class="trend {d.css}" d="{path}"/>']
    if count > TREND_ROWS and d.css != "other":
        parts.insert(0, f'<path class="raw {d.css}" d="{line(d.rows.extremes(), x, y, height)}"/>')
    if count <= MAX_DOTS:
        parts.append(f'<path class="dots {d.css}" d="{dots(d.trend.medians(), x, y, height)}"/>')
    if d.rows.nonfinite.any() and d.css != "other":
        parts.append(f'<path class="nonfinite" d="{ticks_below(d.rows.first[d.rows.nonfinite > 0], x, height)}"/>')
    return "".join(parts)


def _rate(d: PlottedCurve, x: ChartAxis, y: ChartAxis) -> str:
    return f'<path class="rate {d.css}" d="{line(d.rows.extremes(), x, y, LOWER, hold=True)}"/>'


def _answers(layout: ChartLayout, bottom: float) -> list[str]:
    """Draw a small tick or cross, with the number of the change, where the trainer answered.

    Of a group only the first tick, and none where there is no room for its number; each cross is drawn.
    """
    drawn: list[str] = []
    labelled = -math.inf
    further = {number for one in layout.groups for number in range(one.first + 1, one.last + 1)}
    for number, change in enumerate(layout.changes[:MAX_MARKS], 1):
        if change.answer_step is None:
            continue
        share = layout.x.share(change.answer_step)
        good = change.answer == "acknowledged"
        room = (share - labelled) * NARROW > BESIDE * 3 + LETTER * len(str(number))
        if good and (number in further or not room):
            continue
        shape = "M5 -9l3 3l5 -6" if good else "M6 -12l6 6m0 -6l-6 6"
        words = escaped(f"{number} {change.answer} at {layout.data.axis} {whole(change.answer_step)}")
        label = f'<text x="17" y="-5">{number}</text>' if room else ""
        labelled = share if room else labelled
        css = "ack" if good else "refused"
        drawn.append(at(share, f'<g class="{css}"><title>{words}</title><path d="{shape}"/>{label}</g>', bottom))
    return drawn


def _phases(layout: ChartLayout, labels_y: float) -> tuple[list[str], str]:
    """Draw the labels of the phases, and every second phase as a faint band in units of the view box."""
    phases = merged_phases(layout.data.events, layout.changes, layout.groups)
    events = [(s, e) for e, _ in phases if (s := integer(e, "step")) is not None]
    events = sorted(events, key=lambda pair: pair[0])[:MAX_PHASES]
    shares = layout.x.place(np.array([float(s) for s, _ in events], np.float64)).tolist()
    labels, bands = [], []
    for i, (_, event) in enumerate(events):
        begin, end = shares[i], shares[i + 1] if i + 1 < len(shares) else 1.0
        cause = cause_words(text(event, "cause"))
        if i % 2:
            left, right = round(begin * WIDTH), round(end * WIDTH)
            title = f"<title>{escaped(text(event, 'message') or cause)}</title>"
            # Taller than any chart: the frame clips it.
            box = f'x="{left}" y="0" width="{right - left}" height="{1000 * TENTHS}"'
            bands.append(f'<rect class="band" {box}>{title}</rect>')
        if (end - begin) * NARROW > BESIDE + LETTER * len(cause):
            labels.append(at(begin, f'<text class="phase" x="4" y="14">{escaped(cause)}</text>', labels_y))
    return labels, "".join(bands)


def _grid(y: ChartAxis, top: float, height: float, ticks: Sequence[tuple[float, str]]) -> list[str]:
    parts = []
    for value, label in ticks:
        at_y = round(top + (1 - y.share(value)) * height, 1)
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{at_y:g}" y2="{at_y:g}"/>')
        parts.append(f'<text class="tick y" x="-10" y="{at_y + 4:g}" text-anchor="end">{label}</text>')
    parts.append(f'<line class="base" x1="0" x2="100%" y1="{top + height:g}" y2="{top + height:g}"/>')
    return parts


def _steps(x: ChartAxis, y: float, noun: str) -> list[str]:
    shares = [(x.share(v), label) for v, label in step_ticks(x.low, x.high, 6)]
    ticks = (at(s, f'<text class="tick x" x="0" y="17" text-anchor="middle">{label}</text>', y) for s, label in shares)
    return [
        f'<g class="steps">{"".join(ticks)}</g>',
        f'<text class="tick noun" x="-10" y="{y + 17:g}" text-anchor="end">{noun}</text>',
    ]


def _placed(marks: Sequence[StepMark], x: ChartAxis) -> Iterable[tuple[float, StepMark]]:
    return zip(x.place(np.array([m.step for m in marks], np.float64)).tolist(), marks, strict=True)
