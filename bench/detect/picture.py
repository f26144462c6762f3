"""Figure of the median delay over the false-alarm rate, one line a rule; an SVG, legible on light and dark ground.

A line joins the undominated settings of a rule. Text stays text, and the file has no date and no random id: the same
figures give the same bytes.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple
from xml.sax.saxutils import escape

from bench.detect.peers import PEERS
from bench.detect.run import Result
from bench.detect.score import Figures, frontier

WIDTH, HEIGHT = 1040, 640
LEFT, RIGHT, TOP, BOTTOM = 62, 1012, 88, 576

# The false-alarm axis: linear around this rate, logarithmic far above it, with a place for 0.
LINEAR = 0.004
RATES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
DELAYS = (0.25, 0.5, 1, 2, 3, 4, 6, 8)
FASTEST, SLOWEST = 0.2, 8.5

# A setting that misses a larger share of the plateaus has an open mark.
MISSES = 0.05

LETTER, LINE = 6.8, 14.0

# Light ground, dark ground, dashes. Relatives share a colour.
COLOURS = {
    "lrwatch": ("#0550ae", "#79c0ff", ""),
    "torch ReduceLROnPlateau": ("#cf222e", "#ff7b72", ""),
    "optax reduce_on_plateau": ("#cf222e", "#ff7b72", "5 3"),
    "dlib's rule": ("#9a6700", "#e3b341", ""),
    "Mann-Kendall": ("#1a7f37", "#56d364", ""),
    "Mann-Kendall, null turned round": ("#1a7f37", "#56d364", "5 3"),
    "Welch t-test": ("#8250df", "#d2a8ff", ""),
    "Welch t-test, null turned round": ("#8250df", "#d2a8ff", "5 3"),
    "ADWIN": ("#bf3989", "#f778ba", ""),
    "Page-Hinkley": ("#0e7c86", "#56d4dd", ""),
    "KSWIN": ("#953800", "#ffa657", ""),
    "fires at random": ("#6e7781", "#8b949e", "2 3"),
}

STYLE = """
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#57606a}
.ground{fill:#ffffff;stroke:#d0d7de}.grid{stroke:#eaeef2}.head{font-size:17px;font-weight:600;fill:#1f2328}
.floor{fill:#8c959f;fill-opacity:.13;stroke:none}.edge{stroke:#8c959f;fill:none;stroke-dasharray:1 3}
.line{fill:none;stroke-width:1.6}.whisker{stroke-width:5;stroke-opacity:.16;stroke-linecap:round}
.mark{stroke-width:1.6}.open{fill:#ffffff}.ring{fill:none;stroke-width:1.3}.ours{stroke-width:3.2}.name{font-weight:600}
.halo{paint-order:stroke;stroke:#ffffff;stroke-width:3px;stroke-linejoin:round}
"""
DARK = (
    "text{fill:#9198a1}.ground{fill:#0d1117;stroke:#30363d}.grid{stroke:#21262d}.head{fill:#f0f6fc}"
    ".open{fill:#0d1117}.halo{stroke:#0d1117}"
)


class Box(NamedTuple):
    """An occupied rectangle: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: Box) -> float:
        """Return the area that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, high)


def _x(rate: float) -> float:
    return LEFT + 14 + (RIGHT - LEFT - 28) * math.asinh(rate / LINEAR) / math.asinh(1 / LINEAR)


def _y(delay: float) -> float:
    share = math.log(min(max(delay, FASTEST), SLOWEST) / FASTEST) / math.log(SLOWEST / FASTEST)
    return BOTTOM - (BOTTOM - TOP) * share


def _drawn(result: Result) -> dict[str, list[tuple[float, float, Figures]]]:
    """Return the points of the line of each rule, ordered by false alarms."""
    lines = {}
    for peer in PEERS:
        settings = result.figures.get(peer.name, {})
        points = [(_x(settings[s].false), _y(settings[s].delay50), settings[s]) for s in frontier(settings)]
        if peer.label and points:
            lines[peer.label] = points
    return lines


def _taken(points: list[tuple[float, float, Figures]]) -> list[Box]:
    """Return small boxes along a line."""
    boxes = [Box(x - 5, y - 5, x + 5, y + 5) for x, y, _ in points]
    for (x0, y0, _), (x1, y1, _) in pairwise(points):
        parts = max(1, int(math.hypot(x1 - x0, y1 - y0) / 5))
        for i in range(parts):
            x, y = x0 + (x1 - x0) * i / parts, y0 + (y1 - y0) * i / parts
            boxes.append(Box(x - 2, y - 2, x + 2, y + 2))
    return boxes


def _places(lines: dict[str, list[tuple[float, float, Figures]]], taken: list[Box]) -> dict[str, Box]:
    """Find a place for the name of each line: near one of its points and, if possible, clear of everything else."""
    taken = taken + [box for points in lines.values() for box in _taken(points)]
    places = {}
    for label, points in lines.items():
        wide = LETTER * len(label) * (1.06 if label == "lrwatch" else 1)
        best: tuple[float, Box] | None = None
        for rank, (x, y, _) in enumerate(points):
            for far in (9, 16, 26, 40):
                for across, down in ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1)):
                    middle_x = x + across * (far + wide / 2)
                    middle_y = y + down * (far if across == 0 else far / 2 + 3)
                    box = Box(middle_x - wide / 2, middle_y - LINE / 2, middle_x + wide / 2, middle_y + LINE / 2)
                    if box.left < LEFT + 4 or box.right > RIGHT - 2 or box.top < TOP or box.bottom > BOTTOM:
                        continue
                    cost = sum(box.shared(other) for other in taken) + far + 0.5 * rank + 2 * abs(down)
                    if best is None or cost < best[0]:
                        best = cost, box
        if best is not None:
            places[label] = best[1]
            taken.append(best[1])
    return places


def _axes(out: list[str]) -> None:
    for rate in RATES:
        out.append(f'<path class="grid" d="M{_x(rate):.1f} {TOP}V{BOTTOM}"/>')
        out.append(f'<text x="{_x(rate):.1f}" y="{BOTTOM + 18}" text-anchor="middle">{100 * rate:g} %</text>')
    for delay in DELAYS:
        out.append(f'<path class="grid" d="M{LEFT} {_y(delay):.1f}H{RIGHT}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{_y(delay) + 4:.1f}" text-anchor="end">{delay:g}</text>')
    out.append(
        f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 42}" text-anchor="middle">'
        "runs with a false report: a plateau, while the loss still improved as required</text>"
    )
    middle = (TOP + BOTTOM) / 2
    out.append(
        f'<text x="20" y="{middle}" text-anchor="middle" transform="rotate(-90 20 {middle})">'
        "median delay of true reports, in units of what an oracle needs</text>"
    )


def _floor(result: Result, out: list[str]) -> Box:
    points = [(0.0, result.floor[0][1]), *result.floor]
    path = "L".join(f"{_x(rate):.1f} {_y(delay):.1f}" for rate, delay in points)
    out.append(f'<path class="floor" d="M{LEFT} {BOTTOM}V{_y(points[0][1]):.1f}L{path}L{RIGHT} {BOTTOM}Z"/>')
    out.append(f'<path class="edge" d="M{path}"/>')
    where = Box(LEFT + 24, BOTTOM - 34, LEFT + 420, BOTTOM - 14)
    out.append(
        f'<text x="{where.left}" y="{where.bottom - 5}">floor: who knows level, noise and slope needs as long</text>'
    )
    return where


def draw(result: Result) -> str:
    """Draw the SVG."""
    lines = _drawn(result)
    css = {label: f"c{index}" for index, label in enumerate(COLOURS)}
    light = "".join(f".{css[k]}{{stroke:{c[0]}}}text.{css[k]},.d{css[k]}{{fill:{c[0]}}}" for k, c in COLOURS.items())
    dark = "".join(f".{css[k]}{{stroke:{c[1]}}}text.{css[k]},.d{css[k]}{{fill:{c[1]}}}" for k, c in COLOURS.items())
    # Names have a halo of the ground's colour; the colour of their class applies to the fill only.
    halo = "text.halo{stroke:#ffffff}"
    about = (
        f"{result.runs:,} runs of {result.size.values:,} values with known truth, eight kinds of noise. Down and left is better.",
        f"A line: the best settings of a rule. Ring: its default. Bars: 95 % intervals. Open: over {100 * MISSES:g} % of the plateaus missed.",
    )
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title">',
        '<title id="title">Delay of plateau rules over their false-alarm rate</title>',
        f"<style>{STYLE}{light}{halo}@media (prefers-color-scheme:dark){{{DARK}{dark}text.halo{{stroke:#0d1117}}}}</style>",
        f'<rect class="ground" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
        f'<text class="head" x="{LEFT}" y="32">How late, at how many false alarms</text>',
        *(f'<text x="{LEFT}" y="{53 + 17 * row}">{line}</text>' for row, line in enumerate(about)),
    ]
    _axes(out)
    note = _floor(result, out)
    rings: list[Box] = []
    for label, points in reversed(lines.items()):
        name, dashes = css[label], COLOURS[label][2]
        ours = " ours" if label == "lrwatch" else ""
        for _, y, figures in points:
            out.append(f'<path class="whisker {name}" d="M{_x(figures.low):.1f} {y:.1f}H{_x(figures.high):.1f}"/>')
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in points)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        out.append(f'<path class="line {name}{ours}" d="M{path}"{dashed}/>')
        peer = next(peer for peer in PEERS if peer.label == label)
        default = result.figures[peer.name][peer.default]
        if math.isfinite(default.delay50):
            x, y = _x(default.false), _y(default.delay50)
            rings.append(Box(x - 9, y - 9, x + 9, y + 9))
            where = f'cx="{x:.1f}" cy="{y:.1f}"'
            out.append(f'<circle class="ring {name}" {where} r="{9 if ours else 7}"/>')
            out.append(f'<circle class="d{name}" {where} r="2.5"/>')
        for x, y, figures in points:
            fill = "open" if figures.missed > MISSES else f"d{name}"
            out.append(f'<circle class="mark {name} {fill}" cx="{x:.1f}" cy="{y:.1f}" r="{4.5 if ours else 3}"/>')
    for label, box in _places(lines, [note, *rings]).items():
        bold = " name" if label == "lrwatch" else ""
        out.append(
            f'<text class="halo {css[label]}{bold}" x="{box.left:.1f}" y="{box.bottom - 3:.1f}">{escape(label)}</text>'
        )
    return "\n".join([*out, "</svg>"]) + "\n"
