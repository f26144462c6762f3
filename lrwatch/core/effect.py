"""Did the cut help? The level that came, against the level that going on would have given.

The counterfactual is the last phase's fitted line, continued, but never upwards: a cut is decided where noise makes the
curve look flattest, so a line that seems to rise there is the noise that was selected, and going on must not be blamed
for it. Its end is too high for the same reason, so the mean of its window stands in for it. A falling line is kind to going on (curves flatten). They are compared once, a horizon after the command was
applied, since the noise floor answers a cut fast and the slow directions do not. Where noise hides the difference its
interval says so: to wait for certainty would measure what the continued line does, which says little about a curve that
bends, and was worth nothing in closed loop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Counterfactual, Effect

# Two-sided 95 % of a Gaussian.
Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Baseline:
    """The line before a command that was applied at `step`; `scale` is the new scale, `sign` +1 for a loss, -1 for a metric to maximise."""

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
        """What `trend`, the last look before the command, promises for going on."""
        return cls(
            step, scale, sign, trend.step, trend.end, trend.end_error, trend.per_step, trend.per_step_error,
            trend.level, trend.horizon, trend.span,
        )  # fmt: skip

    @property
    def improving(self) -> bool:
        """Whether the line goes the right way."""
        return self.sign * self.per_step < 0

    def going_on(self, ahead: float) -> float:
        """The level that going on gives `ahead` steps after the look."""
        return self.end + self.per_step * (ahead if self.improving else -self.span / 2)


def measure(before: Baseline, after: Trend) -> Effect | None:
    """The effect, once the new phase is a horizon old; None until then. Gains are relative to the level before."""
    if after.step - before.step < before.horizon:
        return None
    ahead = after.step - before.at
    expected = before.going_on(ahead)
    slope_error = before.per_step_error * ahead if before.improving else 0.0
    gain = before.sign * (expected - after.end)
    margin = Z95 * math.hypot(before.end_error, slope_error, after.end_error)
    level = before.level or 1.0
    gain, lower, upper = gain / level, (gain - margin) / level, (gain + margin) / level
    measured = Effect(
        step=after.step,
        scale=before.scale,
        gain=gain,
        lower=lower,
        upper=upper,
        message="",
        line=_line(before, after, expected, slope_error),
    )
    return replace(
        measured,
        message=(
            f"{after.step - before.step} steps after scale {before.scale:g}: {after.end:.4g} where going on would have given "
            f"{expected:.4g}; gain {100 * gain:.2g} % ({100 * lower:.2g} to {100 * upper:.2g} %): {measured.verdict}"
        ),
    )


def _line(before: Baseline, after: Trend, expected: float, slope_error: float) -> Counterfactual:
    """The two levels, and the line that was continued from the command on."""
    ahead = before.step - before.at if before.improving else 0
    return Counterfactual(
        since=before.step,
        before=before.going_on(ahead),
        before_error=math.hypot(before.end_error, before.per_step_error * ahead),
        expected=expected,
        expected_error=math.hypot(before.end_error, slope_error),
        came=after.end,
        came_error=after.end_error,
    )
