"""Chart of a measured effect: the line before a change, continued with its 95 % band, and the measured level.

It is drawn once in the chart of the whole run, and once in a close-up, since the effect of a cut is often less than the
noise of one value.
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
from lrwatch.report.chart.axis import ChartAxis, span_axis, step_ticks
from lrwatch.report.chart.svg import TENTHS, WIDTH, at, stretch
from lrwatch.report.model.data import LARGEST, MetricCurve, ReportData
from lrwatch.report.model.timeline import LrChange, MeasuredEffect
from lrwatch.report.text import MINUS, escaped, short, whole

# Corners of a continued line: straight on a linear axis, a curve on a logarithmic one, as its band is on both.
CORNERS = 17

# Points of a close-up on each side of the change: few, so that each is the mean of many values.
POINTS = 12

# Close-ups at the most: nobody looks at each of more commands than this.
MAX_CLOSE_UPS = 12

# Height of a close-up's panel and of its step axis, room above for the change's label, and least distance of two labels.
HEIGHT, FOOT, HEAD, APART = 150, 24, 18, 15

_CSS = {"helped": "helped", "cost progress": "cost"}


@dataclass(frozen=True, slots=True)
class DrawableEffect:
    """An effect with all that a chart of it needs; `number` is that of the change in the table."""

    number: int
    change: LrChange
    effect: MeasuredEffect
    line: Counterfactual
    step: int

    @property
    def css(self) -> str:
        """Class of the mark of the measured level."""
        return css_of(self.effect)

    @property
    def words(self) -> str:
        """The effect in words."""
        return effect_words(self.effect)

    def continued(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Continue the line before the change to the measurement.

        Returns:
            Steps, levels, and lower and upper edge of the band, each of shape (CORNERS,).
        """
        line, share = self.line, np.linspace(0.0, 1.0, CORNERS)
        level = line.before + (line.expected - line.before) * share
        # The error of the line's height, and that of its slope, which grows with the distance.
        slope = math.sqrt(max(line.expected_error**2 - line.before_error**2, 0.0))
        margin = Z95 * np.hypot(line.before_error, slope * share)
        return line.since + (self.step - line.since) * share, level, level - margin, level + margin


def css_of(effect: MeasuredEffect) -> str:
    """Return the class of colour of an effect."""
    return _CSS.get(effect.verdict or "", "unsure")


def effect_words(effect: MeasuredEffect) -> str:
    """Put an effect into words; empty where its numbers are missing."""
    return effect_in_words(effect.gain, effect.lower, effect.upper) if effect.verdict else ""


def levels_in_words(effect: MeasuredEffect, axis: str) -> str:
    """Compare the measured level with the continued one; empty where the journal does not have them."""
    line, step = effect.line, effect.step
    if line is None or step is None:
        return ""
    measured, expected = _alike(line.came, line.expected)
    return f"{measured} at {axis} {whole(step)} instead of {expected} at the old rate"


def drawable_effects(data: ReportData, changes: Sequence[LrChange]) -> list[DrawableEffect]:
    """Return the effects on the watched metric that can be drawn."""
    effects = []
    for number, change in enumerate(changes, 1):
        effect = change.effect
        if effect is None or effect.line is None or effect.step is None or not data.curves:
            continue
        if _is_of(data.curves[0], effect.line, effect.step):
            effects.append(DrawableEffect(number, change, effect, effect.line, effect.step))
    return effects


def continued_lines(effects: Sequence[DrawableEffect], x: ChartAxis, y: ChartAxis, height: float) -> str:
    """Draw the continued lines with their bands into the run's chart.

    Args:
        effects: The effects.
        x: The step axis.
        y: The axis of the metric.
        height: Height of the panel in pixels.

    Returns:
        Paths in units of the view box.
    """
    return "".join(_continued_line(one, x, y, height) for one in effects)


def outcome_dots(
    effects: Sequence[DrawableEffect], x: ChartAxis, y: ChartAxis, top: float, height: float, noun: str
) -> list[str]:
    """Draw a dot with words for each measured level; those outside the chart are left out.

    Args:
        effects: The effects.
        x: The step axis.
        y: The axis of the metric.
        top: Upper edge of the panel in pixels.
        height: Height of the panel in pixels.
        noun: What the steps count.
    """
    drawn = []
    for one in effects:
        where = y.share(one.line.came)
        if 0 <= where <= 1:
            words = escaped(f"{one.number} {one.words}; {levels_in_words(one.effect, noun)}")
            dot = f'<circle class="measured {one.css}" cy="{top + (1 - where) * height:.1f}" r="4"><title>{words}</title></circle>'
            drawn.append(at(x.share(one.step), dot))
    return drawn


def close_up(one: DrawableEffect, curve: MetricCurve, noun: str) -> tuple[str, str]:
    """Draw one effect on an axis of its own: means of the values on both sides of the change, the line, the measured level.

    Args:
        one: The effect.
        curve: Curve of the watched metric.
        noun: What the steps count.

    Returns:
        The SVG, and the two levels in words.
    """
    line, length = one.line, one.step - one.line.since
    x = ChartAxis(line.since - length, one.step)
    steps, means, each = _means(curve, line.since, length)
    _, _, low, high = one.continued()
    margin = Z95 * line.came_error
    y = span_axis(np.concatenate([means, low, high, [line.came - margin, line.came + margin]]))
    words = f"{levels_in_words(one.effect, noun)}." + (
        f" Each point is the mean of {each:,} values." if each > 1 else ""
    )
    scale = "" if one.change.scale is None else f"scale {short(one.change.scale)}"
    parts = []
    for value, label in y.ticks(4):
        height = HEAD + (1 - y.share(value)) * HEIGHT
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text class="tick y" x="-8" y="{height + 4:.1f}" text-anchor="end">{label}</text>')
    end = HEAD + HEIGHT
    parts.append(f'<line class="base" x1="0" x2="100%" y1="{end}" y2="{end}"/>')
    for step, label in step_ticks(x.low, x.high, 4):
        tick = f'<text class="tick x" y="{end + 16}" text-anchor="middle">{label}</text>'
        parts.append(at(x.share(step), tick))
    hair = f'<line class="hair change" y1="{HEAD - 4}" y2="{end}"/><text class="phase" y="{HEAD - 7}" text-anchor="middle">{scale}</text>'
    parts.append(at(x.share(line.since), hair))
    dots = "".join(f"M{a} {b}h0" for a, b in _corners(x, y, steps, means, HEIGHT))
    parts.append(stretch(_continued_line(one, x, y, HEIGHT) + f'<path class="dots c0" d="{dots}"/>', HEAD, HEIGHT))
    parts += _ends(one, y)
    label = escaped(f"{one.words}. {words}")
    return (
        f'<svg class="chart" role="img" aria-label="{label}" width="100%" height="{end + FOOT}">{"".join(parts)}</svg>',
        words,
    )


def _ends(one: DrawableEffect, y: ChartAxis) -> list[str]:
    """Draw at the right edge the measured level, with its 95 %, and the names and numbers of the two levels beside it."""
    line = one.line
    measured, expected = (HEAD + (1 - y.share(value)) * HEIGHT for value in (line.came, line.expected))
    low, high = (HEAD + (1 - y.share(line.came + way * Z95 * line.came_error)) * HEIGHT for way in (-1, 1))
    middle, half = (measured + expected) / 2, max(abs(measured - expected), APART) / 2
    below = 1 if measured >= expected else -1  # of two equal levels, the measured one is named below
    measured_at, expected_at = _alike(line.came, line.expected)
    labels = ((f"actual {measured_at}", middle + below * half, f"measured-name {one.css}"),
              (f"expected {expected_at}", middle - below * half, "expected-name"))  # fmt: skip
    mark = f'<path class="measured {one.css}" d="M0 {low:.1f}V{high:.1f}"/><circle class="measured {one.css}" cy="{measured:.1f}" r="4.5"/>'
    return [at(1.0, mark + "".join(f'<text class="{css}" x="10" y="{h + 4:.1f}">{t}</text>' for t, h, css in labels))]


def _continued_line(one: DrawableEffect, x: ChartAxis, y: ChartAxis, height: float) -> str:
    steps, level, low, high = one.continued()
    above, below = _corners(x, y, steps, high, height), _corners(x, y, steps, low, height)[::-1]
    band = "L".join(f"{a} {b}" for a, b in above + below)
    path = "L".join(f"{a} {b}" for a, b in _corners(x, y, steps, level, height))
    return f'<path class="interval" d="M{band}z"/><path class="expected" d="M{path}"/>'


def _corners(x: ChartAxis, y: ChartAxis, steps: Floats, values: Floats, height: float) -> list[tuple[int, int]]:
    across = np.rint(x.place(steps) * WIDTH).astype(np.int64)
    down = np.rint((1 - y.place(values)) * height * TENTHS).astype(np.int64)
    return list(zip(across.tolist(), down.tolist(), strict=True))


def _means(curve: MetricCurve, since: int, length: int) -> tuple[Floats, Floats, int]:
    """Take means over equal stretches on both sides of `since`.

    Spikes are pulled back as the detector does it: a mean with one in it says nothing about the level.

    Returns:
        Steps and means, each of shape (n,), and the median number of values behind a mean.
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


def _is_of(curve: MetricCurve, line: Counterfactual, step: int) -> bool:
    """Tell whether the measured level can be one of this curve: a journal does not say which metric was watched by then."""
    inside = curve.values[(curve.steps >= line.since) & (curve.steps <= step)]
    inside = inside[np.isfinite(inside)]
    if not len(inside):
        return False
    low, high = float(inside.min()), float(inside.max())
    room = high / 2 - low / 2 + 3 * line.came_error  # halves do not overflow
    return low - room <= line.came <= high + room


def _alike(a: float, b: float) -> tuple[str, str]:
    """Format two levels with equally many decimals, so that they can be compared: four digits of the larger one."""
    largest = max(abs(a), abs(b))
    if not 1e-4 <= largest < 1e6:
        return short(a), short(b)
    decimals = max(0, 3 - math.floor(math.log10(largest)))
    first, second = (f"{value:.{decimals}f}".replace("-", MINUS) for value in (a, b))
    return first, second


def _tame(values: Floats) -> Floats:
    """Limit values so that each difference is finite."""
    return np.clip(values, -LARGEST, LARGEST)
