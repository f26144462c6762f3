"""Parts of an SVG chart: those that stretch with the page, and those that keep their size.

Lines and bands lie in a nested `svg` that is stretched to the width of the page (`stretch`), with strokes that do not
stretch. Text, badges and arrows are placed by a percentage (`at`) and keep their size. So the chart fits any width
without a script, and the script zooms by changing the view box of the one and the percentage of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrwatch.core.sample import Ints
from lrwatch.report.chart.axis import ChartAxis
from lrwatch.report.chart.decimate import Bools, DecimatedCurve
from lrwatch.report.text import escaped, short, whole

# Width of the view box: fine enough that a zoom of 50 on a screen of 2000 pixels shows no rounding.
WIDTH = 100_000

# Height units per pixel.
TENTHS = 10

# Width that labels are laid out for, in pixels: a narrow window. On a wider one they have more room than they need.
NARROW = 480

# How many arrows one edge of a curve may get; neighbours share one, which points out the furthest of them.
MAX_ARROWS = 80

# Height of a badge, and its least width: one digit makes a circle.
BADGE = 17

# Width of a digit of the small type, in pixels; a bit too wide rather than too narrow.
DIGIT = 7.2


@dataclass(frozen=True, slots=True)
class StepMark:
    """A place on the step axis with a short label, words, and the table row it refers to.

    Marks of one `group`, which have its words and its row, are one label whatever their distance.
    """

    step: float
    label: str
    words: str
    row: str
    css: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Badge:
    """One or several neighbouring marks of a lane, as one label."""

    share: float
    label: str
    members: tuple[StepMark, ...]

    @property
    def width(self) -> float:
        """Width in pixels."""
        return max(BADGE, DIGIT * len(self.label) + 9)

    def touches(self, other: Badge) -> bool:
        """Tell whether the labels would touch on a narrow page."""
        if self.members[0].group and self.members[0].group == other.members[-1].group:
            return True
        return abs(self.share - other.share) * NARROW < (self.width + other.width) / 2 + 2

    def joined(self, later: Badge) -> Badge:
        """Return both as one, at the place of this one, with the first and the last label."""
        members = self.members + later.members
        labels = sorted({m.label for m in members}, key=lambda label: (len(label), label))
        return Badge(self.share, labels[0] if len(labels) == 1 else f"{labels[0]}\u2013{labels[-1]}", members)


def at(share: float, content: str, y: float = 0) -> str:
    """Place content of constant size at a share of the width; its own x = 0 is that place."""
    return f'<svg class="at" data-at="{share:.6g}" x="{100 * share:.6g}%" y="{y:g}">{content}</svg>'


def stretch(content: str, y: float, height: float) -> str:
    """Stretch content in units of the view box to the width, and clip it."""
    box = f"0 0 {WIDTH} {height * TENTHS:g}"
    return (
        f'<svg class="stretch" x="0" y="{y:g}" width="100%" height="{height:g}" viewBox="{box}" '
        f'preserveAspectRatio="none">{content}</svg>'
    )


def line(
    points: tuple[Ints, np.ndarray, Bools], x: ChartAxis, y: ChartAxis, height: float, *, hold: bool = False
) -> str:
    """Return the path through points.

    Args:
        points: Steps, values, and whether the pen is lifted before a point; each of shape (n,).
        x: The step axis.
        y: The axis of the values.
        height: Height of the panel in pixels.
        hold: Hold a value until the next one instead of joining them by a straight line.
    """
    steps, values, lift = points
    if not len(steps):
        return ""
    across = np.rint(x.place(steps.astype(np.float64)) * WIDTH).astype(np.int64)
    down = np.rint((1 - y.place(values)) * height * TENTHS).astype(np.int64)
    starts = np.flatnonzero(lift)
    starts = np.unique(np.concatenate([np.array([0], np.int64), starts]))
    return "".join(
        _stroke(across[a:b], down[a:b], hold=hold)
        for a, b in zip(starts.tolist(), [*starts[1:].tolist(), len(steps)], strict=True)
    )


def dots(points: tuple[Ints, np.ndarray, Bools], x: ChartAxis, y: ChartAxis, height: float) -> str:
    """Return a path of dots, which are strokes of no length with round ends; arguments as for `line`."""
    steps, values, _ = points
    return line((steps, values, np.ones(len(steps), np.bool_)), x, y, height)


def ticks_below(steps: Ints, x: ChartAxis, height: float) -> str:
    """Return a path of short strokes at the lower edge of a panel of `height` pixels."""
    across = np.unique(np.rint(x.place(steps.astype(np.float64)) * WIDTH).astype(np.int64))
    return "".join(f"M{a} {height * TENTHS:g}v-90" for a in across.tolist())


def arrows(
    name: str, css: str, curve: DecimatedCurve, x: ChartAxis, y: ChartAxis, top: float, height: float, noun: str
) -> list[str]:
    """Draw small arrows at the edges where values lie outside the chart; each names the furthest value that it stands for.

    Args:
        name: Name of the curve.
        css: Class of the curve.
        curve: Its rows.
        x: The step axis.
        y: The axis of the values.
        top: Upper edge of the panel in pixels.
        height: Height of the panel in pixels.
        noun: What the steps count.
    """
    drawn = []
    for outside, values, steps, upward in (
        (curve.high > y.high, curve.high, curve.high_step, True),
        (curve.low < y.low, curve.low, curve.low_step, False),
    ):
        furthest: dict[int, int] = {}
        places = x.place(steps.astype(np.float64))
        for row in np.flatnonzero(outside).tolist():
            slot = int(places[row] * MAX_ARROWS)
            best = furthest.get(slot, row)
            further = values[row] > values[best] if upward else values[row] < values[best]
            furthest[slot] = row if further else best
        tip, base = (top, top + 7) if upward else (top + height, top + height - 7)
        for row in furthest.values():
            words = escaped(f"{name} is {short(float(values[row]))} at {noun} {whole(int(steps[row]))}")
            shape = f'<path class="arrow {css}" d="M0 {tip:g}L4 {base:g}H-4z"><title>{words}</title></path>'
            drawn.append(at(float(places[row]), shape))
    return drawn


def badges(marks: Sequence[StepMark], x: ChartAxis) -> list[Badge]:
    """Turn marks into labels that do not overlap on a narrow page: neighbours become one, as in "2 to 4"."""
    joined: list[Badge] = []
    shares = x.place(np.array([m.step for m in marks], np.float64)).tolist()
    for share, mark in sorted(zip(shares, marks, strict=True), key=lambda pair: pair[0]):
        joined.append(Badge(share, mark.label, (mark,)))
        # A label that became longer may touch its neighbour in turn.
        while len(joined) > 1 and joined[-1].touches(joined[-2]):
            joined[-2:] = [joined[-2].joined(joined[-1])]
    return joined


def badge(b: Badge, y: float) -> str:
    """Draw a label that leads to the table row; `y` is its upper edge in pixels."""
    parts = list(dict.fromkeys(m.words for m in b.members))
    words = escaped("; ".join(parts[:5]) + ("; …" if len(parts) > 5 else ""))
    css = next((m.css for m in b.members if "bad" in m.css), b.members[0].css)
    return at(
        b.share,
        f'<a class="badge {css}" href="#{b.members[0].row}" aria-label="{words}"><title>{words}</title>'
        f'<rect x="{-b.width / 2:g}" y="0" width="{b.width:g}" height="{BADGE}" rx="{BADGE / 2}"/>'
        f'<text x="0" y="12.5" text-anchor="middle">{escaped(b.label)}</text></a>',
        y,
    )


def _stroke(across: Ints, down: Ints, *, hold: bool) -> str:
    dx, dy = np.diff(across), np.diff(down)
    moved = (dx != 0) | (dy != 0)
    pairs = zip(dx[moved].tolist(), dy[moved].tolist(), strict=True)
    begin = f"M{across[0]} {down[0]}"
    if hold:
        return begin + ("".join((f"h{a}" if a else "") + (f"v{b}" if b else "") for a, b in pairs) or "h0")
    return begin + ("l" + " ".join(f"{a} {b}" for a, b in pairs) if moved.any() else "h0")
