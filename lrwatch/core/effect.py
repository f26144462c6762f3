"""Did the cut help? The level that came, against the level that continuing would have given.

The counterfactual is the fitted line of the last phase, extended, but never upwards. A cut is decided where noise makes the
curve look flattest, so a line that seems to rise there is selected noise, and continuing must not be blamed for it. Its end
is too high for the same reason, so the mean of its window stands in for it. A falling line is kind to continuing, because
curves flatten.

A line says little beyond its own length. A command that goes out late, or is measured late, has no effect that anybody could tell.

The two are compared once, a horizon after the command was applied: the noise floor answers a cut fast, the slow directions
do not. Where noise hides the difference, the interval says so. To wait for certainty would measure what the extended line
does, which says little about a curve that bends, and was worth nothing in closed loop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Counterfactual, Effect, effect_in_words

# Two-sided 95 % of a Gaussian.
Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Baseline:
    """The line before a command.

    Attributes:
        step, scale: The step at which the command was applied, and its scale.
        sign: +1 for a metric to minimise, -1 for one to maximise.
        at: Step of the look that the line comes from.
        end, end_error: The line at `at`, in units of the metric.
        per_step, per_step_error: Its slope.
        level: The level that gains are relative to.
        horizon: Steps after which the effect is measured.
        span: Steps that the line was fitted over.
    """

    step: int
    scale: float
    sign: float
    at: int
    end: float
    end_error: float
    per_step: float
    per_step_error: float
    level: float
    horizon: float
    span: float = 0.0

    @classmethod
    def of(cls, trend: Trend, step: int, scale: float, sign: float) -> Baseline:
        """Return the line of `trend`, the last look before the command."""
        return cls(
            step, scale, sign, trend.step, trend.end, trend.end_error, trend.per_step, trend.per_step_error,
            trend.level, trend.horizon, trend.span,
        )  # fmt: skip

    @property
    def improving(self) -> bool:
        """Whether the line goes the right way."""
        return self.sign * self.per_step < 0

    def reaches(self, step: int) -> bool:
        """Whether the line may be extended to `step`: by its own length, or by the horizon that the measurement takes and one more."""
        return step - self.at <= max(self.span, 2 * self.horizon)

    def extended(self, ahead: float) -> float:
        """Return the level that continuing gives `ahead` steps after the look."""
        return self.end + self.per_step * (ahead if self.improving else -self.span / 2)


def measure(before: Baseline, after: Trend) -> Effect | None:
    """Return the effect once the new phase is a horizon old, None before. Gains are relative to the level before."""
    if after.step - before.step < before.horizon:
        return None
    ahead = after.step - before.at
    expected = before.extended(ahead)
    slope_error = before.per_step_error * ahead if before.improving else 0.0
    gain = before.sign * (expected - after.end)
    margin = Z95 * math.hypot(before.end_error, slope_error, after.end_error)
    level = before.level or 1.0
    gain, lower, upper = gain / level, (gain - margin) / level, (gain + margin) / level
    return Effect(
        step=after.step,
        scale=before.scale,
        gain=gain,
        lower=lower,
        upper=upper,
        message=(
            f"{after.step - before.step} steps after scale {before.scale:g}: {after.end:.4g} where continuing would have given "
            f"{expected:.4g}; {effect_in_words(gain, lower, upper)}"
        ),
        line=_line(before, after, expected, slope_error),
    )


def _line(before: Baseline, after: Trend, expected: float, slope_error: float) -> Counterfactual:
    """Return the two levels, and the line that was extended from the command on."""
    ahead = before.step - before.at if before.improving else 0
    return Counterfactual(
        since=before.step,
        before=before.extended(ahead),
        before_error=math.hypot(before.end_error, before.per_step_error * ahead),
        expected=expected,
        expected_error=math.hypot(before.end_error, slope_error),
        came=after.end,
        came_error=after.end_error,
    )
