"""Figure of the final losses over the start learning rate, one panel for each real training.

The SVG is legible on light and dark ground. Text stays text, and the file has no date and no random id: the same
figures give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.closed.controllers import CONSTANT, COSINE, GREEDY, GRID, LRWATCH, PLATEAU, WARM, WARM_WSD40
from bench.closed.run import Measured, one_for_all, ratios

WIDTH, LEFT, TOP, RIGHT = 1040, 62, 132, 20
ACROSS, GAP, WIDE, HIGH, BELOW = 3, 44, 290, 190, 64

# Ratios to the tuned cosine, on a logarithmic axis; worse ratios lie on the upper edge.
BEST, WORST = 0.93, 2.0
TICKS = (1.0, 1.1, 1.2, 1.4, 1.7, 2.0)
STARTS = ("best / 3", "best", "best x 3")

# Light ground, dark ground, dashes.
COLOURS = {
    WARM: ("#0550ae", "#79c0ff", ""),
    LRWATCH: ("#0550ae", "#79c0ff", "6 3"),
    GRID: ("#cf222e", "#ff7b72", ""),
    PLATEAU: ("#cf222e", "#ff7b72", "5 3"),
    GREEDY: ("#1a7f37", "#56d364", ""),
    COSINE: ("#8250df", "#d2a8ff", "1 2"),
    CONSTANT: ("#6e7781", "#8b949e", "2 3"),
    WARM_WSD40: ("#9a6700", "#e3b341", "8 3"),
}
NAMES = {
    WARM: "lrwatch, length known, warm start",
    LRWATCH: "lrwatch",
    GRID: "ReduceLROnPlateau, one setting for all",
    PLATEAU: "ReduceLROnPlateau",
    GREEDY: "GreedyLR",
    COSINE: "cosine",
    CONSTANT: "constant",
    WARM_WSD40: "warm-up, WSD 40",
}

STYLE = """
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#57606a}
.ground{fill:#ffffff;stroke:#d0d7de}.grid{stroke:#eaeef2}.cosine{stroke:#57606a;stroke-width:1.4}
.head{font-size:17px;font-weight:600;fill:#1f2328}.panel{font-weight:600;fill:#1f2328}
.line{fill:none;stroke-width:1.6}.ours{stroke-width:3.2}.name{font-weight:600}
"""
DARK = (
    "text{fill:#9198a1}.ground{fill:#0d1117;stroke:#30363d}.grid{stroke:#21262d}.cosine{stroke:#9198a1}"
    ".head,.panel{fill:#f0f6fc}"
)


def draw(found: Sequence[Measured], length: int = 1) -> str:
    """Draw the SVG of the shorter (0) or the longer (1) of the two lengths."""
    real = [measured for measured in found if measured.cell.optimizer]
    real.sort(key=lambda measured: not measured.cell.held_out)
    one = one_for_all(found)
    css = {name: f"c{index}" for index, name in enumerate(COLOURS)}
    ground = [
        "".join(f".{css[k]}{{stroke:{c[side]}}}.d{css[k]}{{fill:{c[side]}}}" for k, c in COLOURS.items())
        for side in (0, 1)
    ]
    rows = math.ceil(len(real) / ACROSS)
    height = TOP + rows * (HIGH + BELOW) + 4
    seeds = len(real[0].outcomes) if real else 0
    steps = real[0].reads[length] if real else 0
    about = (
        f"Final loss after {steps:,} steps over that of the tuned cosine (line at 1), mean of {seeds} "
        f"seed{'s' if seeds != 1 else ''}. Down is better; what lies on the upper edge is worse still."
    )
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">',
        '<title id="title">Final loss over that of the tuned cosine, by the learning rate at the start</title>',
        f"<style>{STYLE}{ground[0]}@media (prefers-color-scheme:dark){{{DARK}{ground[1]}}}</style>",
        f'<rect class="ground" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="head" x="{LEFT}" y="32">What is lost to a tuned cosine schedule, over the learning rate at the start</text>',
        f'<text x="{LEFT}" y="53">{about}</text>',
    ]
    _legend(out, css, [name for name in NAMES if any(measured.group(name) for measured in real)])
    for index, measured in enumerate(real):
        x = LEFT + (index % ACROSS) * (WIDE + GAP)
        y = TOP + (index // ACROSS) * (HIGH + BELOW)
        _panel(out, css, measured, length, one, x, y)
    return "\n".join([*out, "</svg>"]) + "\n"


def _legend(out: list[str], css: dict[str, str], names: Sequence[str]) -> None:
    x, y = float(LEFT), 76
    for name in names:
        shown = NAMES[name]
        wide = 32 + 7 * len(shown)
        if x + wide > WIDTH - RIGHT:
            x, y = float(LEFT), y + 20
        ours = name in (LRWATCH, WARM)
        out.append(f'<path class="line {css[name]}{" ours" * ours}" d="M{x:.0f} {y}h26"{_dashes(name)}/>')
        bold = ' class="name"'
        out.append(f'<text{bold * ours} x="{x + 32:.0f}" y="{y + 4}">{escape(shown)}</text>')
        x += wide + 20


def _dashes(name: str) -> str:
    return f' stroke-dasharray="{COLOURS[name][2]}"' if COLOURS[name][2] else ""


def _height(ratio: float, top: float) -> float:
    share = math.log(min(max(ratio, BEST), WORST) / BEST) / math.log(WORST / BEST)
    return top + HIGH * (1 - share)


def _panel(
    out: list[str], css: dict[str, str], measured: Measured, length: int, one: str, left: float, top: float
) -> None:
    at = [left + WIDE * share for share in (0.08, 0.5, 0.92)]
    out.append(
        f'<text class="panel" x="{left}" y="{top - 8}">{escape(measured.cell.name)}{" (held out)" * measured.cell.held_out}</text>'
    )
    for tick in TICKS:
        kind = "cosine" if tick == 1 else "grid"
        out.append(f'<path class="{kind}" d="M{left} {_height(tick, top):.1f}h{WIDE}"/>')
        out.append(f'<text x="{left - 6}" y="{_height(tick, top) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for x, label in zip(at, STARTS, strict=True):
        out.append(f'<text x="{x:.1f}" y="{top + HIGH + 18}" text-anchor="middle">{label}</text>')
    for name in reversed(COLOURS):
        ours = " ours" if name in (LRWATCH, WARM) else ""
        setting = one if name == GRID else None
        if not measured.group(name):
            continue
        heights = [_height(ratios([measured], name, length, start, setting)[0], top) for start in range(len(at))]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(at, heights, strict=True))
        out.append(f'<path class="line {css[name]}{ours}" d="M{path}"{_dashes(name)}/>')
        for x, y in zip(at, heights, strict=True):
            out.append(f'<circle class="d{css[name]}" cx="{x:.1f}" cy="{y:.1f}" r="{4 if ours else 2.6}"/>')
