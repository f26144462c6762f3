"""What a change of the learning rate brought, drawn: the line before it, continued with its 95 % band, and what came instead.

Once in the picture of the whole run, and once close by, since what a cut brings is often less than the noise of one value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrwatch.core.effect import Z95
from lrwatch.core.events import Counterfactual, effect_in_words
from lrwatch.core.sample import Floats
from lrwatch.core.stats.blocks import CLIP, MAD_TO_SD
from lrwatch.report.chart.axis import LARGEST, MINUS, Axis, short, span_axis, step_ticks, whole
from lrwatch.report.chart.svg import TENTHS, WIDTH, at, stretch
from lrwatch.report.model.data import Curve, ReportData
from lrwatch.report.model.timeline import Change, Gain
from lrwatch.report.page.markup import esc

# Corners of a continued line: straight on a linear axis, a curve on a logarithmic one, as its band is on both.
CORNERS = 17

# Points of a close-up on each side of the change: few, so that each is the mean of many values.
POINTS = 12

# Close-ups at the most; a run with more commands than this is one where nobody looks at each.
MAX_CLOSE_UPS = 12

# Height of a close-up's panel and of its step axis, room above for the change's label, and least distance of two labels.
HEIGHT, FOOT, HEAD, APART = 150, 24, 18, 15

_CSS = {"helped": "helped", "cost progress": "cost"}


@dataclass(frozen=True, slots=True)
class Shown:
    """An effect with all that a picture of it needs; `number` is the change's in the table."""

    number: int
    change: Change
    gain: Gain
    line: Counterfactual
    step: int

    @property
    def css(self) -> str:
        """The class of the mark of what came."""
        return css_of(self.gain)

    @property
    def words(self) -> str:
        """The effect in words."""
        return in_words(self.gain)

    def going_on(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Steps from the change to the measurement; the line before it, continued; and the band's lower and upper edge."""
        line, share = self.line, np.linspace(0.0, 1.0, CORNERS)
        level = line.before + (line.expected - line.before) * share
        # The error of the line's height, and that of its slope, which grows with the distance.
        slope = math.sqrt(max(line.expected_error**2 - line.before_error**2, 0.0))
        margin = Z95 * np.hypot(line.before_error, slope * share)
        return line.since + (self.step - line.since) * share, level, level - margin, level + margin


def css_of(gain: Gain) -> str:
    """The class of colour of what is said of an effect."""
    return _CSS.get(gain.verdict or "", "unsure")


def in_words(gain: Gain) -> str:
    """The effect in words; empty where its numbers are missing."""
    return effect_in_words(gain.gain, gain.lower, gain.upper).replace("-", MINUS) if gain.verdict else ""


def compared(gain: Gain, axis: str) -> str:
    """The two levels in words; empty where the journal does not tell them."""
    line, step = gain.line, gain.step
    if line is None or step is None:
        return ""
    came, expected = _alike(line.came, line.expected)
    return f"{came} at {axis} {whole(step)}, where going on would have given {expected}"


def shown(data: ReportData, changes: Sequence[Change]) -> list[Shown]:
    """The effects on the watched metric that can be drawn."""
    found = []
    for number, change in enumerate(changes, 1):
        gain = change.effect
        if gain is None or gain.line is None or gain.step is None or not data.curves:
            continue
        if _is_of(data.curves[0], gain.line, gain.step):
            found.append(Shown(number, change, gain, gain.line, gain.step))
    return found


def across(effects: Sequence[Shown], x: Axis, y: Axis, height: float) -> str:
    """The continued lines with their bands, in units of the view box of the picture of the run."""
    return "".join(_going_on(one, x, y, height) for one in effects)


def came(effects: Sequence[Shown], x: Axis, y: Axis, top: float, height: float, noun: str) -> list[str]:
    """A dot for each level that came, with what it means; those outside the picture are left out."""
    drawn = []
    for one in effects:
        where = _share(y, one.line.came)
        if 0 <= where <= 1:
            words = esc(f"{one.number} {one.words}; {compared(one.gain, noun)}")
            dot = f'<circle class="came {one.css}" cy="{top + (1 - where) * height:.1f}" r="4"><title>{words}</title></circle>'
            drawn.append(at(_share(x, one.step), dot))
    return drawn


def close_up(one: Shown, curve: Curve, noun: str) -> tuple[str, str]:
    """One effect close by, on an axis of its own: means of the values on both sides of the change, the line, what came.

    -> the picture, and the two levels in words.
    """
    line, length = one.line, one.step - one.line.since
    x = Axis(line.since - length, one.step)
    steps, means, each = _means(curve, line.since, length)
    _, _, low, high = one.going_on()
    margin = Z95 * line.came_error
    y = span_axis(np.concatenate([means, low, high, [line.came - margin, line.came + margin]]))
    words = f"{compared(one.gain, noun)}." + (f" Each point is the mean of {each:,} values." if each > 1 else "")
    scale = "" if one.change.scale is None else f"scale {short(one.change.scale)}"
    parts = []
    for value, label in y.ticks(4):
        height = HEAD + (1 - _share(y, value)) * HEIGHT
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text class="tick y" x="-8" y="{height + 4:.1f}" text-anchor="end">{label}</text>')
    end = HEAD + HEIGHT
    parts.append(f'<line class="base" x1="0" x2="100%" y1="{end}" y2="{end}"/>')
    for step, label in step_ticks(x.low, x.high, 4):
        tick = f'<text class="tick x" y="{end + 16}" text-anchor="middle">{label}</text>'
        parts.append(at(_share(x, step), tick))
    hair = f'<line class="hair change" y1="{HEAD - 4}" y2="{end}"/><text class="phase" y="{HEAD - 7}" text-anchor="middle">{scale}</text>'
    parts.append(at(_share(x, line.since), hair))
    dots = "".join(f"M{a} {b}h0" for a, b in _corners(x, y, steps, means, HEIGHT))
    parts.append(stretch(_going_on(one, x, y, HEIGHT) + f'<path class="dots c0" d="{dots}"/>', HEAD, HEIGHT))
    parts += _ends(one, y)
    label = esc(f"{one.words}. {words}")
    return (
        f'<svg class="chart" role="img" aria-label="{label}" width="100%" height="{end + FOOT}">{"".join(parts)}</svg>',
        words,
    )


def _ends(one: Shown, y: Axis) -> list[str]:
    """At the right edge: what came, with its 95 %, and the names and numbers of the two levels beside it."""
    line = one.line
    came, going = (HEAD + (1 - _share(y, value)) * HEIGHT for value in (line.came, line.expected))
    low, high = (HEAD + (1 - _share(y, line.came + way * Z95 * line.came_error)) * HEIGHT for way in (-1, 1))
    middle, half = (came + going) / 2, max(abs(came - going), APART) / 2
    below = 1 if came >= going else -1  # of two levels that are the same, what came is named below
    came_at, going_at = _alike(line.came, line.expected)
    labels = ((f"came {came_at}", middle + below * half, f"came-name {one.css}"),
              (f"going on {going_at}", middle - below * half, "going-name"))  # fmt: skip
    mark = f'<path class="came {one.css}" d="M0 {low:.1f}V{high:.1f}"/><circle class="came {one.css}" cy="{came:.1f}" r="4.5"/>'
    return [at(1.0, mark + "".join(f'<text class="{css}" x="10" y="{h + 4:.1f}">{t}</text>' for t, h, css in labels))]


def _going_on(one: Shown, x: Axis, y: Axis, height: float) -> str:
    steps, level, low, high = one.going_on()
    above, below = _corners(x, y, steps, high, height), _corners(x, y, steps, low, height)[::-1]
    band = "L".join(f"{a} {b}" for a, b in above + below)
    path = "L".join(f"{a} {b}" for a, b in _corners(x, y, steps, level, height))
    return f'<path class="doubt" d="M{band}z"/><path class="expected" d="M{path}"/>'


def _corners(x: Axis, y: Axis, steps: Floats, values: Floats, height: float) -> list[tuple[int, int]]:
    across = np.rint(x.place(steps) * WIDTH).astype(np.int64)
    down = np.rint((1 - y.place(values)) * height * TENTHS).astype(np.int64)
    return list(zip(across.tolist(), down.tolist(), strict=True))


def _means(curve: Curve, since: int, length: int) -> tuple[Floats, Floats, int]:
    """Means over equal stretches on both sides of `since`: where, how high, and of how many values in the middle.

    Spikes are pulled back as the detector does it: a mean with one in it says nothing about the level.
    """
    where, height, counts = [], [], []
    width = length / POINTS
    for side in (-1, 0):
        begin = since + side * length
        inside = (curve.steps >= begin) & (curve.steps <= begin + length) & np.isfinite(curve.values)
        if side:
            inside &= curve.steps < since
        steps, values = curve.steps[inside].astype(np.float64), _tame(_clipped(curve.values[inside]))
        slot = np.clip((steps - begin) / width, 0, POINTS - 1).astype(np.int64)
        for part in range(POINTS):
            own = slot == part
            if count := int(np.count_nonzero(own)):
                where.append(float(steps[own].mean()))
                height.append(float((values[own] / count).sum()))
                counts.append(count)
    return np.array(where), np.array(height), int(np.median(counts)) if counts else 0


def _clipped(values: Floats) -> Floats:
    if not len(values):
        return values
    with np.errstate(all="ignore"):
        centre = float(np.median(values))
        spread = CLIP * MAD_TO_SD * float(np.median(np.abs(values - centre)))
    return np.clip(values, centre - spread, centre + spread) if 0 < spread < math.inf else values


def _is_of(curve: Curve, line: Counterfactual, step: int) -> bool:
    """Whether the level that came can be one of this curve: a journal does not say which metric was watched by then."""
    inside = curve.values[(curve.steps >= line.since) & (curve.steps <= step)]
    inside = inside[np.isfinite(inside)]
    if not len(inside):
        return False
    low, high = float(inside.min()), float(inside.max())
    room = high / 2 - low / 2 + 3 * line.came_error  # halves do not overflow
    return low - room <= line.came <= high + room


def _alike(a: float, b: float) -> tuple[str, str]:
    """Two levels with as many decimals, so that they can be compared: four digits of the larger one."""
    largest = max(abs(a), abs(b))
    if not 1e-4 <= largest < 1e6:
        return short(a), short(b)
    decimals = max(0, 3 - math.floor(math.log10(largest)))
    first, second = (f"{value:.{decimals}f}".replace("-", MINUS) for value in (a, b))
    return first, second


def _share(axis: Axis, value: float) -> float:
    return float(axis.place(_tame(np.array([float(value)])))[0])


def _tame(values: Floats) -> Floats:
    """Nothing so large that a difference would not be finite."""
    return np.clip(values, -LARGEST, LARGEST)
