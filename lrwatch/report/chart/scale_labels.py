"""Labels above the scales of a range test that stand out, placed in lanes so that no two touch on a narrow page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from lrwatch.report.chart.axis import ChartAxis
from lrwatch.report.model.range_tests import RangeTestRecord, same_scale
from lrwatch.report.text import short

# The width that labels are laid out for, in pixels: a telephone. And the width of a letter of theirs, and the room between two.
NARROW, LETTER, BETWEEN = 250, 6.3, 8

# How far a label may stand out beyond the ends of the axis, in pixels.
OVER = 24

# How the text of a label is shifted against its line, by its anchor, in pixels.
SHIFT = {"start": -4, "middle": 0, "end": 4}


@dataclass(frozen=True, slots=True)
class ScaleLabel:
    """Words above a scale that stands out."""

    scale: float
    words: str
    css: str


def scale_labels(test: RangeTestRecord) -> list[ScaleLabel]:
    """Label the scales of a test that stand out, by rising scale; equal scales share one label."""
    same = test.before is not None and test.after is not None and same_scale(test.before, test.after)
    wanted = [
        (test.before, "in use" if same else "before", "use"),
        (None if same else test.after, "after", "use"),
        (test.valley, "valley", "valley"),
        (test.steepest, "steepest", "steepest"),
        (test.diverges, "diverges", "diverges"),
    ]
    labels: list[ScaleLabel] = []
    for scale, words, css in wanted:
        if scale is None:
            continue
        i = next((i for i, label in enumerate(labels) if same_scale(label.scale, scale)), None)
        if i is None:
            labels.append(ScaleLabel(scale, words, css))
        else:
            labels[i] = ScaleLabel(labels[i].scale, f"{words}, {labels[i].words}", css)
    labels = [ScaleLabel(label.scale, f"{label.words} {short(label.scale)}", label.css) for label in labels]
    return sorted(labels, key=lambda label: label.scale)


def label_lanes(labels: Sequence[ScaleLabel], x: ChartAxis) -> list[tuple[int, str]]:
    """Choose a lane above the panel, 0 lowest, and an anchor of the text for each label.

    No two touch on a narrow page. Of all ways to anchor them, the one where the fewest lines run down through other
    labels is chosen, then the one with the fewest lanes.
    """
    places = [x.share(label.scale) * NARROW for label in labels]
    widths = [LETTER * len(label.words) for label in labels]
    ways = [_anchors(place, width) for place, width in zip(places, widths, strict=True)]
    best: tuple[int, int, int] | None = None
    chosen: list[tuple[int, str]] = []
    for anchors in product(*ways):
        spans = [label_span(*one) for one in zip(places, widths, anchors, strict=True)]
        lanes = _first_fit(spans)
        crossed = sum(
            low[0] <= places[i] <= low[1] and lane < lanes[i]
            for i in range(len(spans))
            for low, lane in zip(spans, lanes, strict=True)
        )
        cost = (crossed, max(lanes, default=0), sum(anchor != "middle" for anchor in anchors))
        if best is None or cost < best:
            best, chosen = cost, list(zip(lanes, anchors, strict=True))
    return chosen


def label_span(place: float, width: float, anchor: str) -> tuple[float, float]:
    """Return where a label begins and ends, in pixels of a narrow page, with half of the room to its neighbours.

    Args:
        place: Place of its scale, in pixels.
        width: Width of its text, in pixels.
        anchor: `start`, `middle` or `end`.
    """
    low = place + SHIFT[anchor] - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return low - BETWEEN / 2, low + width + BETWEEN / 2


def _anchors(place: float, width: float) -> list[str]:
    """Return how a label can be anchored without leaving the page; it may stand out a bit beyond the ends of the axis."""
    spans = [(anchor, label_span(place, width, anchor)) for anchor in ("middle", "end", "start")]
    return [anchor for anchor, (low, high) in spans if low >= -OVER and high <= NARROW + OVER] or ["middle"]


def _first_fit(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Give each span the lowest lane that has room for it."""
    occupied: list[list[tuple[float, float]]] = []
    lanes = []
    for low, high in spans:
        free = (i for i, others in enumerate(occupied) if all(low >= b or high <= a for a, b in others))
        lane = next(free, len(occupied))
        if lane == len(occupied):
            occupied.append([])
        occupied[lane].append((low, high))
        lanes.append(lane)
    return lanes
