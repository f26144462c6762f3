"""Anneal: hold the rate, then let it fall along a line to nothing at the end of the run.

The strategy for a run whose length is known, and the default there. The final line takes most of the excess by which
the rate holds the loss above its floor, and costs the progress that the missing rate would have brought. Both are measured:

- the gain per e-fold of steps, G, from the newest half of the run, at every check;
- the excess, E, from trials as in `strategies.plateau`, between FIRST_TRIAL and LAST_TRIAL of the run, beside a first guess:
  FIRST_GUESS of the level, with an error as large. A rate holds no loss below its floor, so what counts is the mean of the part
  of the estimate's distribution that is above 0: short trials of a noisy run that show nothing do not exclude a small excess.

A line over the share D of the run leaves about a third of the excess and costs D/2 of the steps, so the best share grows with E / G,
and D = RHO * E / G. Where no trial has proven an excess, no share is longer than UNPROVEN, or SLOWED in a run that has slowed down
as a trial requires; and none is longer than LONGEST_SHARE. Where the run progresses fast, as one that learns by heart or is about to
leave a saddle, E / G is small, and so is D: such a run is hardly annealed at all. The line begins when the rest of the run is as short
as the smallest D of the last HOLD of the steps, so that one flat stretch of a noisy curve begins nothing.

A cut that stays is rarer here than in a run of unknown length, because the line brings most of what a cut brings: its excess must be
worth more than CUT times the gain that is still to come.

A schedule of the trainer's own that lowers the rate leaves nothing to anneal, and neither does a run whose `purpose` is a base model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lrwatch.core.command import Asked, CommandState
from lrwatch.core.events import Command
from lrwatch.core.stats.log_line import LogLine
from lrwatch.core.strategies.base import Context, Strategy, StrategyDecision
from lrwatch.core.strategies.plateau import GAINED, Plateau
from lrwatch.core.strategies.trial_outcome import TrialOutcome, TrialVerdict
from lrwatch.core.strategies.trials import FIRST_GUESS, ONE_SIDED_95, Trials, pooled
from lrwatch.core.words import estimate

# Share of the run for the line, over E / G. The slow directions keep an excess of 0.3 under a line (spectrum 1/i), so that the best
# share is 0.3 * E / G for the excess of a long trial; a short one shows a part of it. On six real trainings 0.3 and 0.7 are as good.
RHO = 0.5

# Longest shares of the run for the line: without a proven excess, without one where the run has slowed down, and at all. Twelve
# trainings that progress until their end lose up to 36 % by a line over 0.2 of the run, 90 % by one over 0.4; none of them slows down.
UNPROVEN, SLOWED, LONGEST_SHARE = 0.2, 0.5, 0.8

# Standard errors of the gain per e-fold that are added to it: what noise makes look flat is not.
CAREFUL = 1.5

# Share of the steps so far whose smallest D counts.
HOLD = 0.15

# No line before this share of the run.
EARLIEST = 0.2

# The gain per e-fold falls as steps to this power: between the inverse of a power law and a straight line over ln(step).
DECLINE = 0.5

# First and last trial, as shares of the run. All of them hold back no more than RUN_HELD_BACK of it.
FIRST_TRIAL, LAST_TRIAL, RUN_HELD_BACK = 0.05, 0.5, 0.03

# A cut stays where the excess is above CUT times the gain to come. On three real trainings 2 and 4 are as good, warm and cold.
CUT = 2.0

# One command may multiply the scale by a tenth at the least, and so may the last step of a line.
LAST_STEP = 8


@dataclass(frozen=True, slots=True)
class Anneal(Plateau):
    """Hold, then anneal to the end of the run.

    Attributes:
        ends: The last step of the requested line, or 0 before.
        asked: Whether that line is on its way to the trainer.
        shares: Steps of the newest checks, and the share of the run that the line should have had.
    """

    NAME: ClassVar[str] = "anneal"
    TRIED: ClassVar[float] = Trials.TRIED  # fewer trials are to come
    ends: int = 0
    asked: bool = False
    shares: tuple[tuple[int, float], ...] = ()

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Strategy:
        """Return the strategy whose `state` this is."""
        shares = tuple((step, share) for step, share in state["shares"])
        return super(Anneal, cls).from_state({**state, "shares": shares})

    def begin(self, step: int, context: Context) -> Anneal:
        """Return the strategy with what it learned of the excess.

        Raises:
            ValueError: The length of the run is unknown.
        """
        if not context.total_steps:
            raise ValueError(
                "anneal needs the length of the run: give it with [run] total_steps, attach(total_steps=) or lrwatch extend"
            )
        return replace(self, ends=0, asked=False, shares=(), not_before=0.0)

    # ---- the line -----------------------------------------------------------------------------------------------------

    def acts_at_checks(self, command: CommandState, *, can_try: bool, attached: bool) -> bool:
        """Whether a check may lead to anything: the line may begin, or is on its way."""
        on_its_way = self.asked or self.ends > 0
        return attached or on_its_way or super(Anneal, self).acts_at_checks(command, can_try=can_try, attached=attached)

    def decide(self, step: int, context: Context) -> StrategyDecision:
        """Begin the line when it is due, or a trial."""
        if self.asked:  # it did not arrive: the run was resumed, or the trainer connected again
            return self._dropped(context).decide(step, context)
        if self.ends:
            return self._extended(step, context)
        left = context.total_steps - step
        if context.base or context.decays or left <= 0:
            return StrategyDecision(self)
        rests = context.learned and not context.schedule_moves
        if not context.may_anneal or not rests or step < (1 - HOLD) * EARLIEST * context.total_steps:
            return super(Anneal, self).decide(step, context)
        line = self.fitted(step, context)
        share = 0.0 if line is None else self.share(line, context)
        recent = tuple(one for one in self.shares if (1 - HOLD) * step <= one[0] < step)
        watched = replace(self, shares=(*recent, (step, share)))
        share = min(share for _, share in watched.shares)
        if step >= EARLIEST * context.total_steps and left <= share * context.total_steps:
            return watched._anneal(step, left, share, context)
        return super(Anneal, watched).decide(step, context)

    def share(self, line: LogLine, context: Context) -> float:
        """Return the share of the run that the line should have, by what is known now."""
        gain = (max(line.gain, 0.0) + CAREFUL * line.gain_error) * (line.step / context.total_steps) ** DECLINE
        excess, error = self.guessed_excess(line.step, context)
        proven = self.excess is not None and self.excess > ONE_SIDED_95 * self.excess_error
        told = self.averaged_excess(line.step - 1, context)
        if told is not None and line.level:
            level = abs(line.level)
            proven = told[0] > ONE_SIDED_95 * told[1]
            guess = FIRST_GUESS * context.scale
            excess, error = pooled((told[0] / level, max(told[1] / level, 1e-9)), (guess, guess))
        best = RHO * above_zero(excess, error) * abs(line.level) / gain if gain > 0 else math.inf
        if proven or best <= UNPROVEN:
            return min(best, LONGEST_SHARE)
        return min(best, SLOWED if self._has_slowed_down(line, context) else UNPROVEN)

    def _has_slowed_down(self, line: LogLine, context: Context) -> bool:
        """Whether the run gains so little that a trial would begin: then a longer line risks little."""
        most = self._most_gained(line, line.step - 1, context)
        return most is not None and GAINED * most < self._gained(line, context)

    def _anneal(self, step: int, left: int, share: float, context: Context) -> StrategyDecision:
        scale = max(context.options.min_scale, context.scale / (LAST_STEP * left))
        if scale >= context.scale or context.refuses(scale, step):
            return StrategyDecision(self)
        excess = self._excess_in_words(step, context)
        reason = (
            f"anneal: the scale falls in a line to {scale:.4g} at step {context.total_steps:,}, over the last "
            f"{100 * left / context.total_steps:.0f} % of the run; a decay of up to {100 * share:.0f} % of the run is worth it ({excess})"
        )
        command = Command(step, scale, reason, cause="anneal", ramp_steps=left)
        asked = Asked(scale, ramp_steps=left)
        return StrategyDecision(replace(self, ends=context.total_steps, asked=True), command, asked)

    def _excess_in_words(self, step: int, context: Context) -> str:
        line, told = self.fitted(step, context), self.averaged_excess(step, context)
        if told is not None and line is not None and line.level:
            level = abs(line.level)
            return f"the averaged weights are better by {estimate(told[0] / level, told[1] / level)}"
        if self.excess is None:
            return "a first guess: no trial has shown what this rate costs"
        return f"by its trials this rate costs {estimate(self.excess, self.excess_error)} of the level"

    def _extended(self, step: int, context: Context) -> StrategyDecision:
        """Continue the line from where it is to the new end, where the length was corrected."""
        left = context.total_steps - step
        if context.total_steps == self.ends or left <= 0 or context.refuses(context.scale, step):
            return StrategyDecision(self)
        reason = f"anneal: the run has {context.total_steps:,} steps, not {self.ends:,}; the scale falls to {context.scale:.4g} by then"
        command = Command(step, context.scale, reason, cause="anneal", ramp_steps=left)
        asked = Asked(context.scale, ramp_steps=left)
        return StrategyDecision(replace(self, ends=context.total_steps, asked=True), command, asked)

    def _dropped(self, context: Context) -> Anneal:
        """Return the strategy without the requested line: with the one under way, if there is one."""
        ramp = context.command.ramp
        return replace(self, asked=False, ends=0 if ramp is None else ramp.step + ramp.steps - 1)

    def applied(self, step: int, context: Context, *, by_operator: bool) -> Strategy:
        """Learn that the line has begun."""
        return super(Anneal, replace(self, asked=False)).applied(step, context, by_operator=by_operator)

    def refused(self, until: float, context: Context) -> tuple[Plateau, float]:
        """Ask for the line again where it was refused."""
        strategy = self._dropped(context) if self.asked else self
        return super(Anneal, strategy).refused(until, context)

    # ---- trials -------------------------------------------------------------------------------------------------------

    def quiet_until(self, next_trial: float, step: int) -> float:
        """Return `step`: a trial that brought nothing must not hold up the line, whose time may come before the next trial."""
        return float(step)

    def may_try(self, step: int, context: Context) -> bool:
        """Whether a trial is allowed now: while there is time to learn from it."""
        total = context.total_steps
        if self.averaged_excess(step, context) is not None:  # instead of a trial
            return False
        return FIRST_TRIAL * total <= step < LAST_TRIAL * total and super(Anneal, self).may_try(step, context)

    def may_increase(self, step: int, context: Context) -> bool:
        """Whether a trial upwards may begin, as for one downwards."""
        total = context.total_steps
        return FIRST_TRIAL * total <= step < LAST_TRIAL * total and super(Anneal, self).may_increase(step, context)

    def most_held_back(self, step: int, context: Context) -> float:
        """Return how many steps all trials together may have held back by `step`."""
        return min(super(Anneal, self).most_held_back(step, context), RUN_HELD_BACK * context.total_steps)

    def judges(self, outcome: TrialOutcome, line: LogLine, context: Context) -> TrialVerdict | None:
        """Keep a cut only where the rate is far too high."""
        to_come = CUT * max(line.gain, 0.0) * (line.step / context.total_steps) ** DECLINE
        error = math.hypot(outcome.excess_error, CUT * line.gain_error * (line.step / context.total_steps) ** DECLINE)
        return outcome.verdict(outcome.excess - to_come, error)


def above_zero(mean: float, error: float) -> float:
    """Return the mean of the part above 0 of a Gaussian.

    Args:
        mean: Mean of the Gaussian.
        error: Its standard deviation, above 0.

    >>> above_zero(0.0, 1.0) == math.sqrt(2 / math.pi)
    True
    >>> above_zero(10.0, 1.0), above_zero(-100.0, 1.0)
    (10.0, 0.0)
    """
    z = mean / error
    density, mass = math.exp(-z * z / 2) / math.sqrt(2 * math.pi), math.erfc(-z / math.sqrt(2)) / 2
    return max(mean + error * density / mass, 0.0) if mass > 0 else 0.0
