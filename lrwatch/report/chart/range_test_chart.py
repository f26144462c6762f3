"""What a range test found, drawn: the level of the watched metric over the scale, and the scales that stand out."""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np

from lrwatch.core.sample import Floats
from lrwatch.report.chart.axis import LARGEST, LOG_RATIO, Axis, short, span_axis, whole
from lrwatch.report.chart.svg import TENTHS, WIDTH, at, stretch
from lrwatch.report.model.data import Curve, ReportData
from lrwatch.report.model.timeline import Change, JsonEvent, integer, number, text
from lrwatch.report.page.markup import esc

# Pictures at the most, the newest ones: a run with more range tests than these is one where nobody looks at each.
MAX_RANGES = 4

# Scales that are drawn; a test of this version has a dozen.
MAX_SCALES = 100

# Height of the panel, of a row of ticks below it and of a lane of labels above it.
HEIGHT, TICKS, LANE = 190, 17, 17

# The width that labels are laid out for, in pixels: a telephone. And the width of a letter of theirs, and the room between two.
NARROW, LETTER, BETWEEN = 250, 6.3, 8

# How far a label may stand out beyond the ends of the axis, and how its text is shifted against its line.
OVER = 24
_SHIFT = {"start": -4, "middle": 0, "end": 4}

# Room beyond the outermost scales, as a share of the logarithmic axis, and its least length as a ratio.
ROOM, LEAST_RATIO = 0.04, 1.5

# Learning rates over scales that differ by no more than this are one: logs are rounded.
SAME_RATE = 0.01


@dataclass(frozen=True, slots=True)
class Range:
    """A range test as the journal tells it, and what is known of it besides.

    Attributes:
        step: Where its result was told.
        scales, levels: What was tried, and the level on each.
        steepest, valley, diverges: The scales that stand out.
        message: All of it in words.
        first, last: Numbers, from 1, of its first and last change.
        before, after: The scale in use before the test, and the one after it.
        rate: The learning rate at scale 1, where that was one and the same throughout.
    """

    step: int | None
    scales: Floats
    levels: Floats
    steepest: float | None
    valley: float | None
    diverges: float | None
    message: str
    first: int | None = None
    last: int | None = None
    before: float | None = None
    after: float | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """Words above a scale that stands out."""

    scale: float
    words: str
    css: str


def range_tests(data: ReportData, changes: Sequence[Change]) -> list[Range]:
    """The range tests that ended, in order."""
    ends = [(place, e) for place, e in enumerate(data.events) if e.get("event") == "range_test"]
    places = [place for place, _ in ends]
    own: dict[int, list[tuple[int, Change]]] = {}
    for change_number, change in enumerate(changes, 1):
        if change.cause == "range_test":
            own.setdefault(bisect_left(places, change.place), []).append((change_number, change))
    return [_range(data, event, place, own.get(i, [])) for i, (place, event) in enumerate(ends)]


def _range(data: ReportData, event: JsonEvent, place: int, own: list[tuple[int, Change]]) -> Range:
    scales, levels = _pairs(event)
    steepest, valley, diverges = (_positive(event, key) for key in ("steepest", "valley", "diverges"))
    found = Range(integer(event, "step"), scales, levels, steepest, valley, diverges, text(event, "message"))
    if not own:
        return found
    members = [change for _, change in own]
    in_use = [c.scale for c in members if c.answer != "rejected" and c.scale is not None]
    return replace(
        found,
        first=own[0][0],
        last=own[-1][0],
        before=members[0].before,
        after=in_use[-1] if in_use else None,
        rate=_rate(data, members, place),
    )


def _pairs(event: JsonEvent) -> tuple[Floats, Floats]:
    """The scales with their levels, rising; those that are no numbers are left out."""
    scales, levels = event.get("scales"), event.get("levels")
    if not isinstance(scales, Sequence) or not isinstance(levels, Sequence):
        return np.empty(0), np.empty(0)
    pairs = []
    for scale, level in list(zip(scales, levels, strict=False))[:MAX_SCALES]:
        given = {"scale": scale, "level": level}
        a, b = _positive(given, "scale"), number(given, "level")
        if a is not None and b is not None:
            pairs.append((a, min(max(float(b), -LARGEST), LARGEST)))
    pairs.sort(key=lambda pair: pair[0])
    return np.array([a for a, _ in pairs], np.float64), np.array([b for _, b in pairs], np.float64)


def _positive(event: JsonEvent, key: str) -> float | None:
    """A scale that a logarithmic axis can hold."""
    value = number(event, key)
    return float(value) if value is not None and 1e-100 < value < 1e100 else None


def _rate(data: ReportData, members: Sequence[Change], end: int) -> float | None:
    """The learning rate at scale 1, from the trainer's answers, else from the log; None where it moved or is not one."""
    given = [
        value
        for event in data.events[members[0].place : end]
        if event.get("event") == "acknowledged" and isinstance(rates := event.get("schedule_lr"), dict)
        for key in rates
        if (value := _positive(rates, key)) is not None
    ]
    if given:
        return _one(given)
    logged = [rate for c in data.curves if c.role == "lr" and (rate := _logged(c, members)) is not None]
    return _one(logged)


def _logged(curve: Curve, members: Sequence[Change]) -> float | None:
    """The learning rate at scale 1 by a curve of the log, be it the schedule's or the one that was used."""
    taken = [
        (c.answer_step if c.answer_step is not None else c.step, c.scale) for c in members if c.answer != "rejected"
    ]
    known = [(step, scale) for step, scale in taken if step is not None and scale is not None and scale > 0]
    rates, over = [], []
    for (begin, scale), (end, _) in pairwise(known):
        inside = curve.values[(curve.steps > begin) & (curve.steps < end)]
        inside = inside[np.isfinite(inside) & (inside > 0)]
        if len(inside):
            rates.append(float(np.median(inside)))
            over.append(rates[-1] / scale)
    if len(rates) < 2:
        return None
    return _one(rates) or _one(over)


def _one(rates: Sequence[float]) -> float | None:
    """What the rates are, if they are all the same."""
    if not rates or not 0 < max(rates) <= (1 + SAME_RATE) * min(rates) < sys.float_info.max:
        return None
    return float(np.median(np.array(rates)))


def labels(test: Range) -> list[Label]:
    """What stands out, by rising scale; what is at the same scale has one label."""
    same = test.before is not None and test.after is not None and _same(test.before, test.after)
    wanted = [
        (test.before, "in use" if same else "before", "use"),
        (None if same else test.after, "after", "use"),
        (test.valley, "valley", "valley"),
        (test.steepest, "steepest", "steepest"),
        (test.diverges, "diverges", "diverges"),
    ]
    found: list[Label] = []
    for scale, words, css in wanted:
        if scale is None:
            continue
        i = next((i for i, one in enumerate(found) if _same(one.scale, scale)), None)
        if i is None:
            found.append(Label(scale, words, css))
        else:
            found[i] = Label(found[i].scale, f"{words}, {found[i].words}", css)
    found = [Label(one.scale, f"{one.words} {short(one.scale)}", one.css) for one in found]
    return sorted(found, key=lambda one: one.scale)


def lanes(shown: Sequence[Label], x: Axis) -> list[tuple[int, str]]:
    """For each label the lane above the panel, 0 lowest, and how its text is anchored.

    No two touch on a narrow page. Of all ways to anchor them, the one where the fewest lines run down through other labels,
    then the one with the fewest lanes.
    """
    places = [_share(x, one.scale) * NARROW for one in shown]
    widths = [LETTER * len(one.words) for one in shown]
    ways = [_anchors(place, width) for place, width in zip(places, widths, strict=True)]
    best: tuple[int, int, int] | None = None
    chosen: list[tuple[int, str]] = []
    for anchors in product(*ways):
        spans = [_span(*one) for one in zip(places, widths, anchors, strict=True)]
        placed = _first_fit(spans)
        crossed = sum(
            low[0] <= places[i] <= low[1] and lane < placed[i]
            for i in range(len(spans))
            for low, lane in zip(spans, placed, strict=True)
        )
        cost = (crossed, max(placed, default=0), sum(anchor != "middle" for anchor in anchors))
        if best is None or cost < best:
            best, chosen = cost, list(zip(placed, anchors, strict=True))
    return chosen


def _anchors(place: float, width: float) -> list[str]:
    """How a label can be anchored without leaving the page; it may stand out a bit beyond the ends of the axis."""
    spans = [(anchor, _span(place, width, anchor)) for anchor in ("middle", "end", "start")]
    return [anchor for anchor, (low, high) in spans if low >= -OVER and high <= NARROW + OVER] or ["middle"]


def _span(place: float, width: float, anchor: str) -> tuple[float, float]:
    low = place + _SHIFT[anchor] - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return low - BETWEEN / 2, low + width + BETWEEN / 2


def _first_fit(spans: Sequence[tuple[float, float]]) -> list[int]:
    lanes: list[list[tuple[float, float]]] = []
    placed = []
    for low, high in spans:
        lane = next((i for i, others in enumerate(lanes) if all(low >= b or high <= a for a, b in others)), len(lanes))
        lanes[lane : lane + 1] = [[*lanes[lane], (low, high)] if lane < len(lanes) else [(low, high)]]
        placed.append(lane)
    return placed


def picture(test: Range, order: int, metric: str) -> str:
    """The levels over the scales; `order` makes the names of the picture's title and description its own."""
    shown = labels(test)
    x = _scale_axis([*test.scales.tolist(), *(one.scale for one in shown)])
    y = _level_axis(test.levels)
    placed = lanes(shown, x)
    top = LANE * (1 + max((lane for lane, _ in placed), default=-1)) + 6
    end = top + HEIGHT
    parts = []
    for value, label in _level_ticks(y):
        height = top + (1 - _share(y, value)) * HEIGHT
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text class="tick y" x="-8" y="{height + 4:.1f}" text-anchor="end">{label}</text>')
    if test.diverges is not None:
        share = 100 * _share(x, test.diverges)
        parts.append(f'<rect class="beyond" x="{share:.4g}%" width="{100 - share:.4g}%" y="{top}" height="{HEIGHT}"/>')
    parts.append(f'<line class="base" x1="0" x2="100%" y1="{end}" y2="{end}"/>')
    parts += _ticks(test, x, end)
    parts += [_hair(one, lane, test, x, y, top) for one, (lane, _) in zip(shown, placed, strict=True)]
    parts.append(stretch(f'<path class="trend c0" d="{_path(test, x, y)}"/>', top, HEIGHT))
    parts += _points(test, x, y, top)
    for one, (lane, anchor) in zip(shown, placed, strict=True):
        shift = _SHIFT[anchor]
        words = f'<text class="name {one.css}" x="{shift}" y="{top - 10 - LANE * lane}" text-anchor="{anchor}">{one.words}</text>'
        parts.append(at(_share(x, one.scale), words))
    height = end + TICKS * (1 if test.rate is None else 2) + 6
    title, words = f"range-{order}-title", f"range-{order}-words"
    return (
        f'<svg class="chart" role="img" aria-labelledby="{title} {words}" width="100%" height="{height}">'
        f'<title id="{title}">{esc(metric)} over the scale of the learning rate</title>'
        f'<desc id="{words}">{esc(_described(test, shown), 4000)}</desc>{"".join(parts)}</svg>'
    )


def rates_in_words(test: Range) -> str:
    """The learning rates of the scales that stand out; empty where the rate at scale 1 is not known."""
    if test.rate is None:
        return ""
    named = (("steepest", test.steepest), ("valley", test.valley), ("diverges", test.diverges))
    told = [f"{name} at {short(scale * test.rate)}" for name, scale in named if scale is not None]
    return f"As learning rates, at {short(test.rate)} for scale 1: {', '.join(told)}." if told else ""


def when(test: Range, changes: Sequence[Change], axis: str) -> str:
    """From where to where it went."""
    begin = changes[test.first - 1].step if test.first is not None else None
    ends = [whole(step) for step in (begin, test.step) if step is not None]
    return f"{axis} {' to '.join(ends)}" if ends else ""


def _described(test: Range, shown: Sequence[Label]) -> str:
    levels = [
        f"{short(level)} at {short(scale)}"
        for scale, level in zip(test.scales.tolist(), test.levels.tolist(), strict=True)
    ]
    marked = "; ".join(one.words for one in shown)
    return f"Levels by scale: {', '.join(levels)}." + (f" Marked: {marked}." if marked else "")


def _ticks(test: Range, x: Axis, end: float) -> list[str]:
    """Round scales below the panel, and below those the learning rates that they are, where that is known."""
    parts = [f'<text class="tick noun" x="-8" y="{end + 16}" text-anchor="end">scale</text>']
    if test.rate is not None:
        parts.append(f'<text class="tick noun" x="-8" y="{end + 16 + TICKS}" text-anchor="end">rate</text>')
    for value, label in x.ticks(4):
        both = f'<text class="tick x" y="{end + 16}" text-anchor="middle">{label}</text>'
        if test.rate is not None:
            rate = short(value * test.rate)
            both += f'<text class="tick x" y="{end + 16 + TICKS}" text-anchor="middle">{rate}</text>'
        parts.append(at(_share(x, value), f'<line class="base" y1="{end}" y2="{end + 4}"/>{both}'))
    return parts


def _hair(one: Label, lane: int, test: Range, x: Axis, y: Axis, top: float) -> str:
    """From a label down: to the point of its scale, or through the panel where it has none."""
    level = _level_at(test, one.scale)
    through = level is None or one.css in ("use", "diverges")
    end = top + HEIGHT if through or level is None else top + (1 - _share(y, level)) * HEIGHT
    return at(_share(x, one.scale), f'<line class="hair {one.css}" y1="{top - 6 - LANE * lane}" y2="{end:.1f}"/>')


def _points(test: Range, x: Axis, y: Axis, top: float) -> list[str]:
    parts = []
    for scale, level in zip(test.scales.tolist(), test.levels.tolist(), strict=True):
        css = [
            name
            for name, s in (("valley", test.valley), ("steepest", test.steepest))
            if s is not None and _same(s, scale)
        ]
        radius = 5.5 if css else 3.5
        words = f"{short(level)} at scale {short(scale)}"
        if test.rate is not None:
            words += f", learning rate {short(scale * test.rate)}"
        height = top + (1 - _share(y, level)) * HEIGHT
        dot = f'<circle class="{" ".join(["point", *css])}" cy="{height:.1f}" r="{radius}"><title>{words}</title></circle>'
        parts.append(at(_share(x, scale), dot))
    return parts


def _path(test: Range, x: Axis, y: Axis) -> str:
    across = np.rint(x.place(test.scales) * WIDTH).astype(np.int64).tolist()
    down = np.rint((1 - y.place(test.levels)) * HEIGHT * TENTHS).astype(np.int64).tolist()
    return "M" + "L".join(f"{a} {b}" for a, b in zip(across, down, strict=True))


def _scale_axis(scales: Sequence[float]) -> Axis:
    low, high = math.log(min(scales)), math.log(max(scales))
    room = max(ROOM * (high - low), (math.log(LEAST_RATIO) - (high - low)) / 2)
    return Axis(math.exp(low - room), math.exp(high + room), log=True)


def _level_axis(levels: Floats) -> Axis:
    low, high = float(levels.min()), float(levels.max())
    if low > 0 and high / LOG_RATIO > low:
        ends = span_axis(np.log10(levels))
        return Axis(10 ** max(ends.low, -300.0), 10 ** min(ends.high, 307.9), log=True)
    return span_axis(levels)


def _level_ticks(y: Axis) -> list[tuple[float, str]]:
    """Two at least, so that a difference can be read."""
    return next((ticks for count in (4, 6, 8) if len(ticks := y.ticks(count)) > 1), y.ticks(12))


def _level_at(test: Range, scale: float) -> float | None:
    pairs = zip(test.scales.tolist(), test.levels.tolist(), strict=True)
    return next((level for own, level in pairs if _same(own, scale)), None)


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9)


def _share(axis: Axis, value: float) -> float:
    return float(axis.place(np.array([value]))[0])
