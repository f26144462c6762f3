"""Plateau: try a cut where the run has slowed down, and keep it where it is worth more than the progress that it costs.

The strategy for a run whose length is not known. A learning rate holds the loss above what it could be, by an excess that
grows with the rate: the noise floor. A cut takes a part of that away at once, and slows down all progress that is still to
come. How much that is depends on the length, so the strategy compares the excess with the gain per e-fold of steps: a cut to half
costs at most ln 2 of it, however long the run goes on (progress goes with the sum of the rates), and brings half of the excess.

A trial (`strategies.trials`) begins only where there is a plateau to speak of: the gain per e-fold, with its error, is below
FLAT of the level, and GAINED times as much is less than all that the run has gained. Where progress speeds up, as in a run that
falls from epoch to epoch or that leaves a saddle, no cut is tried: what it brings at once would be paid for many times.

Without a trainer that applies commands nothing can be tried. Then the strategy proposes a cut once the metric certainly improves
by less than `first_cut` per horizon, in the newest horizons and in the long windows of a trial alike.

Where the loop gives the loss of averaged weights (`core.averaged_loss`), that says what a cut is worth before it is made, and decides
whether a trial begins. It is a trial all the same.

Two further answers need permission in the settings: trials upwards (`trial_increase`), and a cut where the run overfits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from lrwatch.core.command import Asked, Status, Trial, TrialFailed, TrialKept
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Command, Effect, Finding
from lrwatch.core.stats.log_line import LogLine, fit
from lrwatch.core.strategies import trial_increase
from lrwatch.core.strategies.base import NEVER, Context, Strategy, StrategyDecision
from lrwatch.core.strategies.trial_outcome import TrialOutcome, TrialVerdict
from lrwatch.core.strategies.trials import ONE_SIDED_95, Trials
from lrwatch.core.words import estimate, moves, percent

# A cut must show this many times the gain per e-fold as excess. By theory a cut to half pays at any length above 1.4, at the
# length that doubles the run above 0.6. In closed loop on six real trainings, from a third, one and three times the best rate, at
# 2,000 and 8,000 steps, 0.4 and 1.4 were worse.
EXCESS_PER_GAIN = 0.7

# Gain per e-fold, relative to the level, above which a run is no plateau: 2 % per tenth of the run.
FLAT = 0.2

# A run has slowed down when it gains less than one part in so many, per e-fold, of all that it has gained. At 10 the same trainings
# end at 1.14 of the tuned cosine, at 4 to 6 at 1.10.
GAINED = 5.0

# The larger gain of two windows counts: that of the line, and one that begins at this share of the steps so far. In one alone a flat
# stretch, as within an epoch, would pass for a plateau.
LONG_WINDOW = 0.25

# Values whose mean is where the run began, at the least; one block of the curve where that has more.
FIRST_VALUES = 5

# Values that a run must have before a trial, unless it is certainly flat.
FEW = 200


@dataclass(frozen=True, slots=True)
class Plateau(Trials):
    """Cut where the run has slowed down and a trial proves the gain."""

    NAME: ClassVar[str] = "plateau"
    # Where the length is unknown, trials come as long as the run lasts. Trials of half the rate that hold back 5 % let a training whose
    # data get harder in steps end 2 to 3 % higher, with 3 % it is 0.4 % at the most, and eleven others end as with 5 %. With 2 % trials
    # are too short to prove anything. So they take 6 % of the steps, whatever the factor.
    TRIED: ClassVar[float] = 0.06

    def begin(self, step: int, context: Context) -> Plateau:
        """Return the strategy with what it learned of the excess."""
        return replace(self, no_increase_before=0.0, not_before=0.0)

    def acts_between_looks(self, context: Context) -> bool:
        """Return whether findings may lead to a command: overfitting, or a rate that may be too low."""
        return context.options.overfitting == "cut" or context.options.max_scale > 1

    def threshold(self, context: Context) -> float:
        """Return what a look must lie below to lead to a proposal."""
        return NEVER if context.forbids or context.can_try else context.options.first_cut

    # ---- trials -------------------------------------------------------------------------------------------------------

    def begins(self, line: LogLine, step: int, context: Context) -> str:
        """Return why a trial should begin: the run has slowed down."""
        level = abs(line.level)
        if level and (told := self.averaged_excess(step, context)) is not None:
            worth = told[0] - EXCESS_PER_GAIN * max(line.gain, 0.0)
            sure = worth / max(math.hypot(told[1], EXCESS_PER_GAIN * line.gain_error), 1e-12)
            if abs(sure) > ONE_SIDED_95:  # else the average does not decide it
                return self._by_average(told, level) if sure > 0 else ""
        if level == 0 or self._still_gains(self._at_most(line, step, context), line, context):
            return ""  # as nearly always, and another line would cost most of a check
        most = self._most_gained(line, step, context)
        if most is None or self._still_gains(most, line, context):
            return ""
        doubling = math.log(2) / level
        size = estimate(doubling * abs(line.gain), doubling * line.gain_error)
        return (
            f"the run has slowed down: while its steps double, the metric {moves(line.gain, size)}, "
            "and what a lower rate would bring is not known"
        )

    @staticmethod
    def _by_average(told: tuple[float, float], level: float) -> str:
        return f"the averaged weights are better by {estimate(told[0] / level, told[1] / level)}, which is more than a cut costs"

    def _most_gained(self, line: LogLine, step: int, context: Context) -> float | None:
        """Return the gain per e-fold, with its error, in the window where it is largest; None where one has too few values."""
        longer = fit(context.curve, LONG_WINDOW * step, step + 1, context.sign)
        if longer is None:
            return None
        return max(self._at_most(one, step, context) for one in (line, longer))

    @staticmethod
    def _at_most(line: LogLine, step: int, context: Context) -> float:
        """Return the gain of a line per e-fold, with its error."""
        values = context.curve.count(context.curve.first, step + 1)
        return line.gain + (1.0 if values >= FEW else ONE_SIDED_95) * line.gain_error

    def _still_gains(self, most: float, line: LogLine, context: Context) -> bool:
        """Whether a gain per e-fold is too much against the level, or against what was gained so far."""
        return most >= FLAT * abs(line.level) or GAINED * most >= self._gained(line, context)

    def _gained(self, line: LogLine, context: Context) -> float:
        """Return what the run has gained since it began, less the error of its beginning."""
        curve = context.curve
        age = line.step - curve.first
        values = curve.count(curve.first, line.step)
        end = curve.first + max(curve.width, FIRST_VALUES / max(values, 1) * age)
        first = curve.window(curve.first, end)
        count = float(first[:, 0].sum())
        if not count:
            return 0.0
        return context.sign * float(first[:, 2].sum()) / count - math.sqrt(line.noise / count) - line.level

    def judges(self, outcome: TrialOutcome, line: LogLine, context: Context) -> TrialVerdict | None:
        """Keep a trial whose excess is significantly above the cost of a cut."""
        lost = 1 - context.options.factor
        costs = EXCESS_PER_GAIN * max(line.gain, 0.0)
        error = math.hypot(
            math.sqrt(max(outcome.gain_error**2 - (outcome.x * line.gain_error) ** 2, 0.0)) / lost,
            ((1 - lost) * outcome.x / lost + EXCESS_PER_GAIN) * line.gain_error,
        )
        return outcome.verdict(outcome.excess - costs, error)

    # ---- looks --------------------------------------------------------------------------------------------------------

    def look(self, trend: Trend, context: Context) -> StrategyDecision:
        """Propose a cut where nothing can be tried, and take back a trial upwards."""
        trial = context.command.trial
        if trial is not None and self.measures(trial, context):
            return StrategyDecision(self)
        if not trial_increase.is_on(context):
            return StrategyDecision(self) if context.can_try else self._propose(trend, context)
        command_back, event = trial_increase.take_back(trend.step, context)
        if event is None:
            return StrategyDecision(self)
        return StrategyDecision(
            replace(self, no_increase_before=trial_increase.PATIENCE * trend.step), command_back, event
        )

    def _propose(self, trend: Trend, context: Context) -> StrategyDecision:
        scale, worth = context.cut, context.options.first_cut
        rests = context.learned and not context.schedule_moves
        if not rests or context.command.trial is not None or scale >= context.scale:
            return StrategyDecision(self)
        if context.command.count + 1 + context.way_back > context.options.max_commands:
            return StrategyDecision(self)
        if context.refuses(scale, trend.step) or trend.step < self._next_proposal(trend, context):
            return StrategyDecision(self)
        bound = trend.ratio(trend.upper_now)
        if bound >= worth or not self._is_flat(worth, trend, context):
            return StrategyDecision(self)
        reason = (
            f"the metric {moves(trend.improvement_now, percent(abs(trend.ratio(trend.improvement_now))))} per {trend.horizon:,.0f} steps, {_bounded(trend, bound)}; "
            f"{percent(worth)} is required to keep this rate. The cut is a trial: it is taken back unless it is proven"
        )
        trial = Trial(context.scale)
        return StrategyDecision(self, Command(trend.step, scale, reason), Asked(scale, trial=trial), worth)

    def _is_flat(self, worth: float, trend: Trend, context: Context) -> bool:
        """Whether the long windows, too, show less than `worth` of the level per horizon: one bump is no plateau."""
        line = self.fitted(trend.step, context)
        most = None if line is None else self._most_gained(line, trend.step, context)
        if line is None or most is None or trend.horizon >= trend.step:
            return False
        per_horizon = -math.log1p(-trend.horizon / trend.step) * most
        return per_horizon < worth * abs(line.level) and GAINED * most < self._gained(line, context)

    def _next_proposal(self, trend: Trend, context: Context) -> float:
        """Return the step before which the newest command is too young for another one."""
        applied_at = context.command.applied_at
        return max(
            self.not_before, 0.0 if applied_at is None else applied_at + context.options.cooldown * trend.horizon
        )

    # ---- findings -----------------------------------------------------------------------------------------------------

    def found(self, finding: Finding, context: Context, *, watched: bool) -> StrategyDecision:
        """Try a higher rate where it may be too low, and cut where the run overfits, if the settings permit it."""
        if finding.kind == "too_slow" and watched and context.options.max_scale > 1:
            look = context.last_look
            continuing = 0.0 if look is None else look.ratio(look.improvement_now)
            return StrategyDecision(self, *trial_increase.ask(finding, continuing, self.no_increase_before, context))
        scale = context.cut
        slows = finding.kind == "overfitting" and context.options.overfitting == "cut" and scale < context.scale
        if not slows or context.refuses(scale, finding.step):
            return StrategyDecision(self)
        reason = f"{finding.message}; scale {scale:.4g} slows that down"
        return StrategyDecision(self, Command(finding.step, scale, reason, cause="overfitting"), Asked(scale))

    # ---- what commands brought ------------------------------------------------------------------------------------------

    def measured(
        self, effect: Effect, level_ratio: float, context: Context
    ) -> tuple[Strategy, TrialKept | TrialFailed | None, float]:
        """Judge a trial upwards; a cut on trial is judged by the curve, in `check`."""
        trial = context.command.trial
        if context.command.status is Status.ON_TRIAL and trial is not None and trial.previous < effect.scale:
            return self, trial_increase.judge(effect, trial.worth or 0.0), 0.0
        return self, None, 0.0

    def refused(self, until: float, context: Context) -> tuple[Plateau, float]:
        """Try no higher rate before `until`, unless a trial is being taken back."""
        if context.command.restores and trial_increase.is_on(context):
            return self, until
        return replace(self, no_increase_before=max(self.no_increase_before, until)), until


def _bounded(trend: Trend, bound: float) -> str:
    """Return the most that a look allows, as a clause behind its estimate."""
    if bound < 0:
        return f"surely by more than {percent(-bound)}"
    surely = f"by less than {percent(bound)}"
    return f"surely {surely}" if trend.improvement_now >= 0 else f"and surely improves {surely}"
