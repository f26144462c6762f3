"""The outcome of a trial: its gain, whether that is confirmed, and the verdict.

When a trial begins, a line over the logarithm of the steps (`stats.log_line`) was fitted to the values just before. The mean of the
values that came since is compared with it: the *gain* against continuing, and the *excess* by which the scale before holds the metric
above its floor. `strategies.trials` says what happens with both.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from lrwatch.core.effect import Z95
from lrwatch.core.events import Counterfactual, Effect, effect_in_words
from lrwatch.core.stats.log_line import LogLine
from lrwatch.core.stats.student import t_quantile
from lrwatch.core.strategies.base import Context

# Share of the time since a trial began that is not compared.
TRANSIENT = 0.25

# Values after the transient that a verdict needs.
MIN_VALUES = 4

# Values that a run must have before a trial, for the whole of its probability of error; a younger one has a share of that. Too little is
# known of its noise, most of all where that has heavy tails, and a cut so early has the longest time to do harm.
PLENTY = 300

# Standard errors at which a trial ends before its time, for the worse and for the better, and that it needs when the time is over.
SURELY_NOT, SURELY, KEEP = -2.5, 2.0, 0.5


class TrialVerdict(NamedTuple):
    """A verdict on a trial: whether it stays, and whether it certainly brought too little."""

    keep: bool
    surely_not: bool = False


class TrialOutcome(NamedTuple):
    """What a trial has brought so far, in units of the metric; positive is better.

    Attributes:
        gain, gain_error: Against continuing.
        excess, excess_error: What the scale before the trial holds the metric above its floor.
        x: E-folds of steps from the beginning of the trial to the middle of what is compared.
        came, came_error: Mean of the values that came.
        is_over: Whether the trial has lasted as long as it may.
        needed: Standard errors by which the gain must be above 0.
    """

    gain: float
    gain_error: float
    excess: float
    excess_error: float
    x: float
    came: float
    came_error: float
    is_over: bool = False
    needed: float = 2.0

    @property
    def is_proven(self) -> bool:
        """Whether the lower end of the gain is above 0."""
        return self.gain > self.needed * self.gain_error

    def verdict(self, worth: float, error: float) -> TrialVerdict | None:
        """Return the verdict on a trial, or None where more values may change it.

        Args:
            worth: What the excess brings beyond what a cut costs, in units of the metric.
            error: Its standard error.
        """
        z = worth / error if error > 0 else math.copysign(math.inf, worth)
        if z <= SURELY_NOT:
            return TrialVerdict(keep=False, surely_not=True)
        if z >= SURELY and self.is_proven:
            return TrialVerdict(keep=True)
        return TrialVerdict(keep=z > KEEP and self.is_proven) if self.is_over else None


def needed(error: float, values: int, df: int) -> float:
    """Return by how many standard errors the gain of a trial must be above 0.

    Args:
        error: Probability that a trial that brings nothing is taken for proven.
        values: Values of the run before the trial.
        df: Degrees of freedom of their noise.

    >>> [round(needed(0.002, values, 58), 1) for values in (30, 100, 500, 1000, 10_000)]
    [3.8, 3.4, 3.0, 3.0, 3.0]
    """
    return t_quantile(error * min(1.0, values / PLENTY), max(df, 1))


class SettledLevel(NamedTuple):
    """Mean of sign * metric since a change, without the transient: steps left out, the mean, and its variance."""

    skipped: float
    mean: float
    variance: float


def settled_level(context: Context, applied_at: int, step: int, noise: float) -> SettledLevel | None:
    """Return the level from a change at `applied_at` up to `step`, or None where too few values came.

    Args:
        context: Holds the curve.
        applied_at: First step after the change.
        step: The last step.
        noise: Variance of one value before. Noise with heavy tails may show in the few values since, and not in those before.
    """
    skipped = TRANSIENT * (step - applied_at)
    if epoch := context.epoch_at(applied_at):
        skipped = step - applied_at - (step - applied_at - skipped) // epoch * epoch
    first, end = applied_at + skipped, step + 1
    count = context.curve.count(first, end)
    if count < MIN_VALUES:
        return None
    scatter = context.curve.deviation(first, end)
    return SettledLevel(skipped, context.sign * context.curve.mean(first, end), max(noise, scatter * scatter) / count)


def measure(line: LogLine, context: Context, applied_at: int, step: int, share: float) -> TrialOutcome | None:
    """Compare what came since a trial began with the line before it.

    Args:
        line: The line before the trial, up to its first step.
        context: Holds the curve.
        applied_at: First step of the trial.
        step: The step now.
        share: The scale of the trial over the scale before: between 0 and 1, or above 1 for a trial upwards.

    Returns:
        The outcome, or None where too few values came.
    """
    settled = settled_level(context, applied_at, step, line.noise)
    if settled is None:
        return None
    skipped, came, variance = settled
    x = math.log1p((skipped + step - applied_at) / 2 / max(applied_at, 1))
    falls = max(line.gain, 0.0)
    lost = 1 - share
    excess = (line.level - came - share * line.gain * x) / lost
    return TrialOutcome(
        gain=line.level - falls * x - came,
        gain_error=math.sqrt(line.level_variance + variance + x * x * line.gain_variance),
        excess=excess,
        excess_error=math.sqrt(line.level_variance + variance + (share * x) ** 2 * line.gain_variance) / abs(lost),
        x=x,
        came=came,
        came_error=math.sqrt(variance),
    )


class Reversal(NamedTuple):
    """A trial that looked proven, and the time after it at the scale before.

    Attributes:
        scale, previous: Scales of the trial and before it.
        applied_at, lasted: First step of the trial, and its length in steps.
        line: The line before it.
        outcome: What it brought against that line.
        back_at: First step back at the scale before; None until it is applied.
        came, came_error: Level of sign * metric in the trial, until the rate was back, and its standard error.
        rise, rise_error: By how much the metric got worse at that scale, and its standard error; progress that the run made meanwhile
            is not added, since it cannot be told from what the cut did not bring.
    """

    scale: float
    previous: float
    applied_at: int
    lasted: int
    line: LogLine
    outcome: TrialOutcome
    back_at: int | None = None
    came: float = 0.0
    came_error: float = 0.0
    rise: float = 0.0
    rise_error: float = math.inf

    def measured(self, context: Context, step: int) -> Reversal:
        """Return it with what came up to `step`; unchanged while too few values came."""
        if self.back_at is None:
            return self
        low = settled_level(context, self.applied_at, self.back_at - 1, self.line.noise)
        high = settled_level(context, self.back_at, step, self.line.noise)
        if low is None or high is None:
            return self
        rise_error = math.sqrt(low.variance + high.variance)
        return self._replace(
            came=low.mean, came_error=math.sqrt(low.variance), rise=high.mean - low.mean, rise_error=rise_error
        )

    def is_proven(self, error: float, values: int) -> bool:
        """Whether the metric got significantly worse when the rate went back; arguments as for `needed`."""
        return self.rise > needed(error, values, self.line.df) * self.rise_error


def effect_of(outcome: TrialOutcome, line: LogLine, step: int, context: Context) -> Effect:
    """Return the effect for people, relative to the level before. Its bounds are those of a proof, at least 95 %."""
    level, scale, sign = abs(line.level) or 1.0, context.scale, context.sign
    margin = max(Z95, outcome.needed) * outcome.gain_error
    gain, lower, upper = (value / level for value in (outcome.gain, outcome.gain - margin, outcome.gain + margin))
    expected = sign * (outcome.came + outcome.gain)
    expected_error = math.sqrt(max(outcome.gain_error**2 - outcome.came_error**2, 0.0))
    return Effect(
        step=step,
        scale=scale,
        gain=gain,
        lower=lower,
        upper=upper,
        message=(
            f"after {step - line.step + 1:,} steps at scale {scale:.4g}: {sign * outcome.came:.4g} instead of {expected:.4g} at the old "
            f"rate; {effect_in_words(gain, lower, upper)}"
        ),
        line=Counterfactual(
            since=line.step,
            before=sign * line.level,
            before_error=math.sqrt(line.level_variance),
            expected=expected,
            expected_error=expected_error,
            came=sign * outcome.came,
            came_error=outcome.came_error,
        ),
    )


def effect_of_reversal(reversal: Reversal, step: int, context: Context, *, proven: bool) -> Effect:
    """Return the effect of a trial that was reversed, for people: the level in it against the level after it.

    Where the metric did not get significantly worse, its gain in the trial and what was lost after it contradict each other: the bounds are
    those of both, and the lower one is 0 at the most.
    """
    line, sign, outcome = reversal.line, context.sign, reversal.outcome
    level = abs(line.level) or 1.0
    gain, margin = reversal.rise, Z95 * reversal.rise_error
    lower, upper = gain - margin, gain + margin
    if not proven:
        gain, lower = (gain + outcome.gain) / 2, min(lower, 0.0)
        upper = max(upper, outcome.gain + Z95 * outcome.gain_error)
    gain, lower, upper = gain / level, lower / level, upper / level
    after = reversal.came + reversal.rise
    return Effect(
        step=step,
        scale=reversal.scale,
        gain=gain,
        lower=lower,
        upper=upper,
        message=(
            f"{sign * reversal.came:.4g} at scale {reversal.scale:g}, {sign * after:.4g} back at scale {reversal.previous:g}; "
            f"{effect_in_words(gain, lower, upper)}"
        ),
        line=Counterfactual(
            since=reversal.applied_at,
            before=sign * line.level,
            before_error=math.sqrt(line.level_variance),
            expected=sign * after,
            expected_error=math.sqrt(max(reversal.rise_error**2 - reversal.came_error**2, 0.0)),
            came=sign * reversal.came,
            came_error=reversal.came_error,
        ),
    )
