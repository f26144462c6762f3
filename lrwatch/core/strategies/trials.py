"""Trials: a smaller scale for a while, measured against continuing, and taken back unless it is proven.

The base of the strategies that learn from the run itself. A trial multiplies the scale by `[policy] factor`. When the
trainer applies it, a line over the logarithm of the steps (`stats.log_line`) is fitted to the values just before, and from
then on the mean of the values that came is compared with what continuing at the scale before would have given. The first TRANSIENT
of the time since does not count: the noise floor needs a while to follow the rate.

Two numbers come out, each with its error. The *gain* is the level that continuing would have given less the level that
came. The *excess* is by how much the scale before the trial holds the metric above its floor: the drop at the same number of
e-folds of progress, for the whole of the scale. What to do with them is up to the strategy. What holds for all:

- A cut stays only where two comparisons prove it, each at an ERROR that is smaller in a young run. Against the line before, the lower
  end of its gain is above 0. Then the rate goes back, and the metric must get worse: what fell by itself meanwhile, as where a run leaves a
  saddle, does not rise again. Only then does the cut come for good. Where nobody has allowed the way back, the first decides alone.
- Each trial that brought nothing makes the next one come later, by a factor of AGAIN_LATER or AGAIN in steps, so a run has few of them.
- Whatever is not proven in time is taken back: no certain gain, worse, or not measurable because the level shifted, the rate was
  moved, or the run was resumed meanwhile.
- With permission, a trial may go upwards (`trial_increase`). One comparison decides about it: what was learned faster is not
  lost where the rate goes back.
- All trials that were taken back hold back at most HELD_BACK of the steps so far, counted as steps times the share of
  the scale that was missing.
- Where the data come again, a window before a trial and what is compared with it are whole epochs, so that a drop at the beginning of an epoch
  does not count as a gain. A run that is too young for that has no trials.
- No trial begins before the metric has improved significantly, while the trainer's own schedule moves the rate, or where a step
  of the way may not be commanded.

One file because one state says where a trial stands, from its beginning to its proof.

The line is never continued upwards: a cut of a rising loss must make it fall. Nor is it continued by more than its own length.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lrwatch.core.command import Asked, CommandState, ReturnAsked, Status, Trial, TrialKept
from lrwatch.core.events import Command, Effect
from lrwatch.core.options import EPOCHS
from lrwatch.core.stats.log_line import LogLine, fit
from lrwatch.core.strategies import trial_increase
from lrwatch.core.strategies.base import Context, Strategy, StrategyDecision
from lrwatch.core.strategies.limits import LAST_COMMANDS, equal
from lrwatch.core.strategies.trial_outcome import (
    MIN_VALUES,
    TRANSIENT,
    Reversal,
    TrialOutcome,
    TrialVerdict,
    effect_of,
    effect_of_reversal,
    measure,
    needed,
)

# Lines are fitted to the last half of the steps, or less after a change.
WINDOW = 0.5

# The next trial comes when the run is older by this factor; the larger one after a trial that certainly brought too little.
AGAIN, AGAIN_LATER = 1.6, 2.2

# ... and after one that was kept.
AFTER_KEPT = 1.25

# The excess of a run drifts: the standard error of what is known of it grows by this share of the level for each e-fold of steps.
DRIFT = 0.1

# Probability that a trial that brings nothing passes the comparison with the line before it, and that it passes the one with the
# time after it. At 0.01 each, one of 600 healthy curves with noise of six kinds is cut for good.
ERROR = 0.01

# The same for the first comparison where it decides alone, since the way back would need a person. With 0.02, one in ten is cut.
ERROR_ALONE = 0.002

# What the excess is taken for before a trial shows it, relative to the level, and its standard error.
FIRST_GUESS = 0.1

ONE_SIDED_95 = 1.645  # of a Gaussian


@dataclass(frozen=True, slots=True)
class Trials(Strategy, ABC):
    """A strategy that tries cuts.

    Attributes:
        line: The line before the trial that is on, or None.
        awaits_line: Whether the line is fitted at the next check: the values up to the step of application may still come.
        leaves: Share of the scale that is missing on the way back of a trial, and since which step.
        since: First step at the scale in use, the newest trial that was taken back aside.
        excess, excess_error: By all trials, relative to the level of the metric and for the scale in use; None before one.
        excess_at: Step of the newest trial that told.
        held_back: Steps that trials held back.
        not_before, no_increase_before: No trial before this step, and no trial upwards.
        reversal: The trial that looked proven, while the rate is back for comparison.
        proven: The same once the cut has been requested again, until its effect is reported.
    """

    WANTS_CURVE: ClassVar[bool] = True
    SHORTEST: ClassVar[float] = 0.04
    LONGEST: ClassVar[float] = 0.15
    """Steps of a trial, as shares of the steps so far."""
    HELD_BACK: ClassVar[float] = 0.05
    """Share of the steps so far that all trials that were taken back hold back together, at the most."""
    TRIED: ClassVar[float] = 1.0
    """Share of the steps so far that these trials take together, at the most."""
    line: LogLine | None = None
    awaits_line: bool = False
    leaves: tuple[float, int] | None = None
    since: float = 0.0
    excess: float | None = None
    excess_error: float = 0.0
    excess_at: float = 0.0
    held_back: float = 0.0
    not_before: float = 0.0
    no_increase_before: float = 0.0
    reversal: Reversal | None = None
    proven: Reversal | None = None

    # ---- what a strategy of trials says of its own ---------------------------------------------------------------------

    @abstractmethod
    def begins(self, line: LogLine, step: int, context: Context) -> str:
        """Return why a trial should begin now, as a clause, or "" if none should."""

    @abstractmethod
    def judges(self, outcome: TrialOutcome, line: LogLine, context: Context) -> TrialVerdict | None:
        """Return the verdict on a trial, or None where more values may change it."""

    # ---- checks ---------------------------------------------------------------------------------------------------------

    def acts_at_checks(self, command: CommandState, *, can_try: bool, attached: bool) -> bool:
        """Whether a check may lead to anything: a trial can begin, or one is not over."""
        return can_try or command.trial is not None or self.reversal is not None or self.proven is not None

    def check(self, step: int, context: Context) -> StrategyDecision:
        """Judge the trial that is on, take one back, or begin one."""
        command = context.command
        if command.wanted is not None or context.options.mode == "observe":
            return StrategyDecision(self)
        if command.trial is not None and self.measures(command.trial, context):
            if command.status is Status.ON_TRIAL:
                return self._judge(command.trial, step, context)
            if command.restores:
                return self._return_further(command.trial, step, context)
        if self.leaves is not None:  # the way back ended without being applied: a person denied it
            return replace(self, leaves=None).check(step, context)
        if self.proven is not None:
            return self._proven(self.proven, step, context)
        if self.reversal is not None:
            return self._compare(self.reversal, step, context)
        return self.decide(step, context)

    @staticmethod
    def measures(trial: Trial, context: Context) -> bool:
        """Whether the curve decides about a trial: about each one downwards, and about one upwards that no look measures."""
        return trial.previous > context.scale or (trial.previous < context.scale and trial.worth is None)

    def decide(self, step: int, context: Context) -> StrategyDecision:
        """Begin a trial, if it is time for one."""
        if self.may_increase(step, context) and (increase := self._increase(step, context)) is not None:
            return increase
        if not self.may_try(step, context) or not self._has_whole_epochs(step, context):
            return StrategyDecision(self)
        if (line := self.fitted(step, context)) is None:
            return StrategyDecision(self)
        longest = self._longest(step, context)
        if longest < self._shortest(step, context) or not (why := self.begins(line, step, context)):
            return StrategyDecision(self)
        scale = context.cut
        reason = (
            f"{why}; scale {scale:.4g} is tried for at most {longest:,.0f} steps, and stays only if it is proven to bring more "
            "than it costs"
        )
        command = Command(step, scale, reason, cause="probe")
        return StrategyDecision(replace(self, line=None), command, Asked(scale, trial=Trial(context.scale)))

    def may_increase(self, step: int, context: Context) -> bool:
        """Whether a trial upwards may begin, as far as no line is needed to tell."""
        permitted = context.options.max_scale > 1
        was_cut = context.scale < 1  # a trial, or a person, has shown that the rate is too high
        if not permitted or was_cut or step < self.no_increase_before or self.reversal is not None:
            return False
        return trial_increase.may_begin(step, context) and self._has_whole_epochs(step, context)

    def _increase(self, step: int, context: Context) -> StrategyDecision | None:
        """Begin a trial upwards, if the excess is small enough."""
        if (line := self.fitted(step, context)) is None:
            return None
        excess, error = self.guessed_excess(line.step, context)
        if not trial_increase.is_small(abs(line.level) * (excess + error), line.gain - line.gain_error):
            return None
        scale = trial_increase.target(context)
        reason = (
            f"the run learns fast, and a higher rate may bring more; scale {scale:.4g} is tried for at most "
            f"{trial_increase.LONGEST * step:,.0f} steps, and stays only if it is proven better"
        )
        command = Command(step, scale, reason, cause="too_slow")
        return StrategyDecision(replace(self, line=None), command, Asked(scale, trial=Trial(context.scale)))

    def may_try(self, step: int, context: Context) -> bool:
        """Whether a trial is allowed now."""
        return (
            context.can_try
            and self.reversal is None
            and context.learned
            and not context.schedule_moves
            and step >= self.not_before
            and context.cut < context.scale
            and not context.refuses(context.cut, step)
            and context.command.count + 2 + context.way_back + LAST_COMMANDS <= context.options.max_commands
        )

    def fitted(self, step: int, context: Context) -> LogLine | None:
        """Return the line through the values up to `step` at the scale in use, or None where they are too few."""
        return fit(context.curve, self._window(step, context), step + 1, context.sign)

    def _window(self, step: int, context: Context) -> float:
        """Return where the window before `step` begins: at half of the steps or the newest change, whole epochs back where they fit."""
        first, epoch = max(WINDOW * step, self.since), context.epoch_at(step)
        if not epoch:
            return first
        whole = max((step - first) // epoch, EPOCHS)
        return first if step - whole * epoch < max(self.since, context.curve.first) else step - whole * epoch

    def _window_before(self, trial: Trial, applied_at: int, context: Context) -> float:
        """Return where the line before a trial begins: where a shorter one would, but for a trial upwards."""
        if trial.previous > context.scale:
            return self._window(applied_at, context)
        return max(trial_increase.WINDOW * applied_at, self.since, context.options.warmup_steps)

    def _has_whole_epochs(self, step: int, context: Context) -> bool:
        """Whether the window before `step` has as many epochs as one must have."""
        return step - self._window(step, context) >= EPOCHS * context.epoch_at(step)

    def averaged_excess(self, step: int, context: Context) -> tuple[float, float] | None:
        """Return the excess that the loss of averaged weights shows, in units of the metric, and its error; None where it shows none."""
        told = context.averaged.excess(max(WINDOW * step, self.since), step + 1)
        return None if told is None else (context.sign * told[0], told[1])

    def _shortest(self, step: int, context: Context) -> float:
        values = context.curve.count(WINDOW * step, step + 1)
        apart = (1 - WINDOW) * step / max(values, 1)
        return max(self.SHORTEST * step, max(MIN_VALUES * apart, context.epoch_at(step)) / (1 - TRANSIENT))

    def _longest(self, step: int, context: Context) -> float:
        """Return the steps that a trial may last: what it holds back must leave the rest of the run its share."""
        lost = 1 - context.options.factor
        room = (self.most_held_back(step, context) - self.held_back) / lost
        return min(max(self.LONGEST * step, self._shortest(step, context)), room)

    def most_held_back(self, step: int, context: Context) -> float:
        """Return how many steps all trials together may have held back by `step`."""
        tried = max(self.TRIED * step, self._shortest(step, context))  # of few values, so many are a trial
        return min(self.HELD_BACK * step, tried * (1 - context.options.factor))

    def applied(self, step: int, context: Context, *, by_operator: bool) -> Strategy:
        """Prepare to fit the line before a trial; begin to count from `step` where the scale stays."""
        trial = context.command.trial
        if self.leaves is not None:
            share, since = self.leaves
            held_back = self.held_back + share * max(step - since, 0)
            back = None if self.reversal is None else self.reversal._replace(back_at=step)
            after = replace(self, leaves=None, held_back=held_back, reversal=back)
            return after.applied(step, context, by_operator=by_operator)
        if by_operator or trial is None:
            begins = context.command.restores or context.command.status is Status.QUIET
            return replace(self, line=None, since=self.since if begins else float(step))
        if not self.measures(trial, context):  # on its way back, or measured by a look
            return replace(self, line=None)
        return replace(self, line=None, awaits_line=True)

    def disturbed(self) -> Strategy:
        """Forget the line: something else changed the curve, so that the trial cannot be measured."""
        return replace(self, line=None, awaits_line=False, reversal=None)

    # ---- verdicts -------------------------------------------------------------------------------------------------------

    def _judge(self, trial: Trial, step: int, context: Context) -> StrategyDecision:
        applied_at = context.command.applied_at
        if self.awaits_line and applied_at is not None:
            if step < applied_at:
                return StrategyDecision(self)
            line = fit(context.curve, self._window_before(trial, applied_at, context), applied_at, context.sign)
            return replace(self, line=line, awaits_line=False)._judge(trial, step, context)
        line, up = self.line, trial.previous < context.scale
        if line is None or applied_at is None or step - applied_at > line.step - line.first:
            lost = line is None or not up
            why = "it cannot be measured: the curve changed for other reasons" if lost else "it is not proven"
            return self._take_back(trial, step, context, why)
        may_stay = step - applied_at >= self._shortest(applied_at, context)
        if not may_stay and not up:
            return StrategyDecision(self)
        outcome = measure(line, context, applied_at, step, context.scale / trial.previous)
        if outcome is None:
            return StrategyDecision(self)
        values = context.curve.count(context.curve.first, applied_at)
        error = trial_increase.ERROR if up else ERROR if context.can_try else ERROR_ALONE
        longest = trial_increase.LONGEST * applied_at if up else self._longest(applied_at, context)
        outcome = outcome._replace(is_over=step - applied_at >= longest, needed=needed(error, values, line.df))
        verdict = (
            trial_increase.verdict(outcome, line.gain * outcome.x, may_stay=may_stay)
            if up
            else self.judges(outcome, line, context)
        )
        if verdict is None:
            return StrategyDecision(self)
        learned = self if up and verdict.surely_not else self._pooled(outcome, line)
        effect = effect_of(outcome, line, step, context)
        if verdict.keep and context.can_try and not up:
            reversal = Reversal(context.scale, trial.previous, applied_at, step - applied_at, line, outcome)
            return replace(learned, reversal=reversal)._reverse(trial, step, context)
        if verdict.keep:
            kept = learned._kept(step, context.scale / trial.previous, applied_at if up else None)
            return StrategyDecision(kept, event=TrialKept(), effect=effect)
        if up and verdict.surely_not:
            learned = replace(learned, no_increase_before=trial_increase.AFTER_LOSS * step)
        elif not up:
            learned = replace(learned, not_before=(AGAIN_LATER if verdict.surely_not else AGAIN) * step)
        why = "it is not proven" if outcome.gain > 0 else "it brought nothing"
        return learned._take_back(trial, step, context, why, effect)

    def _take_back(
        self, trial: Trial, step: int, context: Context, why: str, effect: Effect | None = None
    ) -> StrategyDecision:
        """End a trial that is not proven."""
        up = trial.previous < context.scale
        if up:
            next_trial, quiet_until = max(self.no_increase_before, AGAIN_LATER * step), float(step)
            after = replace(self, no_increase_before=next_trial)
        else:
            next_trial = max(self.not_before, AGAIN * step)
            after, quiet_until = replace(self, not_before=next_trial), self.quiet_until(next_trial, step)
        reason = (
            f"the trial of scale {context.scale:.4g} is taken back: {why}; the next trial {'upwards ' if up else ''}"
            f"begins at step {next_trial:,.0f} or later"
        )
        return after._return(trial, step, context, reason, quiet_until, effect)

    def _reverse(self, trial: Trial, step: int, context: Context) -> StrategyDecision:
        """End a trial that looks proven, to see whether the metric gets worse."""
        reason = f"the metric is better at scale {context.scale:.4g}; the rate goes back for now, and the cut returns for good if that makes it worse"
        after = replace(self, not_before=max(self.not_before, AGAIN * step))
        return after._return(trial, step, context, reason, float(step))

    def _return_further(self, trial: Trial, step: int, context: Context) -> StrategyDecision:
        """Continue the way back: one command could not go all of it or was not applied, or the trainer resumed with the trial's scale."""
        if step < context.command.quiet_until:
            return StrategyDecision(self)
        if self.reversal is not None:
            return self._reverse(trial, step, context)
        return self._take_back(trial, step, context, "it is still in force and not proven")

    def _return(
        self, trial: Trial, step: int, context: Context, reason: str, quiet_until: float, effect: Effect | None = None
    ) -> StrategyDecision:
        scale, up = context.bounded(trial.previous), trial.previous < context.scale
        if scale >= context.scale if up else scale <= context.scale:
            return StrategyDecision(replace(self, line=None, reversal=None), event=TrialKept(), effect=effect)
        left = (
            None if equal(scale, trial.previous) else trial
        )  # further than one command may go: the next check continues
        share, since = max(1 - context.scale / trial.previous, 0.0), context.command.applied_at
        if self.leaves is not None:  # the way back was commanded before
            since = self.leaves[1]
        held_back = self.held_back + share * max(step - (since or step), 0)
        after = replace(self, line=None, awaits_line=False, held_back=held_back, leaves=(share, step))
        command = Command(step, scale, reason, cause="restore")
        asked = ReturnAsked(scale, float(step) if left else quiet_until, trial=left)
        return StrategyDecision(after, command, asked, effect=effect)

    def _kept(self, step: int, share: float, since: int | None = None) -> Trials:
        """Return the strategy after a change to `share` of the scale that stays, in use from `since` or `step` on."""
        return replace(
            self, line=None, reversal=None, since=float(step if since is None else since), not_before=AFTER_KEPT * step,
            excess=None if self.excess is None else share * self.excess, excess_error=share * self.excess_error,
        )  # fmt: skip

    def _compare(self, reversal: Reversal, step: int, context: Context) -> StrategyDecision:
        """Cut for good if the metric got worse when the rate went back, and drop the cut if it did not in time."""
        back_at = reversal.back_at
        if back_at is None or not equal(context.scale, reversal.previous):  # something else changed the rate
            return replace(self, reversal=None).decide(step, context)
        if step - back_at < reversal.lasted:
            return self.decide(step, context)
        reversal = reversal.measured(context, step)
        if reversal.is_proven(ERROR, context.curve.count(context.curve.first, reversal.applied_at)):
            if context.refuses(reversal.scale, step):
                return StrategyDecision(self)
            reason = (
                f"proven: the metric was better at scale {reversal.scale:.4g} and got worse when the rate went back: "
                f"{effect_of_reversal(reversal, step, context, proven=True).message}"
            )
            cut = replace(self, reversal=None, proven=reversal)
            return StrategyDecision(cut, Command(step, reversal.scale, reason), Asked(reversal.scale))
        if step - back_at < max(self.LONGEST * back_at, reversal.lasted):
            return self.decide(step, context)
        return StrategyDecision(
            replace(self, reversal=None), effect=effect_of_reversal(reversal, step, context, proven=False)
        )

    def _proven(self, reversal: Reversal, step: int, context: Context) -> StrategyDecision:
        """Say what a proven cut brought, once it is in use again."""
        after = replace(self, proven=None)
        if not equal(context.scale, reversal.scale):  # it was refused, or an operator was faster
            return after.decide(step, context)
        kept = after._kept(step, reversal.scale / reversal.previous)
        return StrategyDecision(kept, effect=effect_of_reversal(reversal, step, context, proven=True))

    def quiet_until(self, next_trial: float, step: int) -> float:
        """Return the step before which there is no command of any kind after a trial was taken back at `step`."""
        return next_trial

    def _pooled(self, outcome: TrialOutcome, line: LogLine) -> Trials:
        """Return the strategy with what all trials together say of the excess, each weighted by its precision and its age."""
        level = abs(line.level) or 1.0
        excess, error = outcome.excess / level, max(outcome.excess_error / level, 1e-9)
        if self.excess is not None:
            excess, error = pooled((excess, error), (self.excess, self.known_error(line.step)))
        return replace(self, excess=excess, excess_error=error, excess_at=float(line.step))

    def guessed_excess(self, step: int, context: Context) -> tuple[float, float]:
        """Return the excess by a first guess and all trials, relative to the level of the metric, and its standard error."""
        guess = FIRST_GUESS * context.scale
        return (guess, guess) if self.excess is None else pooled((self.excess, self.known_error(step)), (guess, guess))

    def known_error(self, step: float) -> float:
        """Return the standard error of the excess at `step`: a random walk over ln(step) adds to that of the trials."""
        older = math.log(step / self.excess_at) if 0 < self.excess_at < step else 0.0
        return max(math.hypot(self.excess_error, DRIFT * math.sqrt(older)), 1e-9)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Strategy:
        """Return the strategy whose `state` this is."""
        line = state["line"]
        leaves = state["leaves"]
        return cls(
            **{
                **state,
                "line": None if line is None else LogLine(*line),
                "leaves": None if leaves is None else (leaves[0], leaves[1]),
                "reversal": _reversal(state["reversal"]),
                "proven": _reversal(state["proven"]),
            }
        )


def _reversal(state: list[Any] | None) -> Reversal | None:
    if state is None:
        return None
    return Reversal(*state)._replace(line=LogLine(*state[4]), outcome=TrialOutcome(*state[5]))


def pooled(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Return the mean of two values with standard errors, weighted by their precision, and its standard error."""
    weight, known = one[1] ** -2, other[1] ** -2
    return (weight * one[0] + known * other[0]) / (weight + known), (weight + known) ** -0.5
