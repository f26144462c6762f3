"""The value-of-a-cut strategy: reduce the learning rate when continuing is certainly worth less than a cut.

A learning rate holds the loss above what it could be, by an excess that grows with the rate: the noise floor. Every cut
shows how much: it takes a part of the excess away. So the strategy keeps one number with its error, the excess for a scale of
1, and each measured cut improves it. The estimates of all cuts are pooled, each weighted by its precision, older ones less. A
cut whose effect noise hides then neither stops nor reverses the strategy: it weighs little. What continuing is worth is the
improvement per horizon that a look sees, with its interval. The rate is cut again when even the upper end of that interval
is less than EXCESS_SHARE of the excess at the scale in use.

Before the first cut nothing is known of the excess. Where commands are sent, the strategy finds out. Once PROBE_SAMPLES values
have come, and continuing does not bring very much, it cuts for a horizon as an experiment, a *probe*. The probe stays if
continuing is worth less than EXCESS_SHARE of the excess that it showed; otherwise it came too early, and is taken back. Where
noise hides its effect FIRST_GUESS decides whether it stays; if it does not, nothing was learned, and it is made again later.
It costs half a horizon's progress at the most. In the other modes `first_cut` per horizon, relative to the level, stands in
for the unknown, with a bound that is harder to pass.

A cut that certainly cost progress is undone, once a level, and not tried again before the run is older by
PATIENCE_AFTER_UNDO. After MAX_WITHOUT_GAIN cuts in a row that were no better than continuing the strategy stops until the run is
older by PATIENCE_WITHOUT_GAIN.

Two further answers need permission in the settings: a trial upwards where the rate may be too low (`trial_increase`), and a
cut where the run overfits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from lrwatch.core.command import Asked, CommandState, ReturnAsked, Status, Trial, TrialFailed, TrialKept
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.effect import Z95
from lrwatch.core.events import Command, Effect, Finding
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies import trial_increase
from lrwatch.core.strategies.base import NEVER, Context, Strategy, StrategyDecision
from lrwatch.core.strategies.limits import CommandLimits

# Continuing must bring more per horizon than this share of the excess. On a power law of the sum of all rates the best share is
# 0.1 or less; a slope that was measured over the past is steeper than the one to come, and what is left of the last cut looks
# like progress, so more is asked. In closed loop on noisy quadratic problems, as final risk over that of the best schedule:
# 1.71 at 0.3, on problems of other spectra 2.01; at 0.2 with a cooldown of 1.5 horizons 1.70 and 2.14, at 0.3 with the same 1.77
# and 2.15 (all without a probe). To cut again at once, down to where the theory says, was far worse (3.4 and more): it trusts
# early slopes. On six real trainings, final loss over that of the tuned cosine after 8,000 steps, 1.038 with a probe and 1.075
# without one; on the quadratic problems a probe neither gains nor loses (1.77, four seeds). With a probe whose effect was
# believed however uncertain it was, 1.045 at a share of 0.2, 1.060 at 0.3, 1.058 at 0.15.
EXCESS_SHARE = 0.2

# What the first measured cut is weighed against: an excess of this share of the level at the scale before, give or take as
# much. It matters where noise hides the first cuts: without it 1.74 in place of 1.69 (as above); 0.2 is as good.
FIRST_GUESS = 0.1

# What earlier cuts say counts by this share, in precision, at each new one: the excess for a scale of 1 changes as the training
# goes on. All alike (1): 1.75 against 1.70.
OLD_COUNTS = 0.5

# Values of a phase before the first probe: a horizon of a tenth of the run holds a hundred then, so that the level behind a cut
# has an error of a fifth of the noise of one value. With 500 the real trainings are 2 % better after 2,000 steps, and 1 % worse
# after 8,000; on a training whose loss is nearly all noise that no rate removes (the demo's) cuts come earlier than is best.
PROBE_SAMPLES = 1000

# Where continuing may bring more than this per horizon the run is still in its steepest stretch, and no probe would stay.
PROBE_BELOW = 0.1

# A probe that was taken back is made again, as a cut of the usual kind, when the run is older by this factor.
PATIENCE_AFTER_PROBE = 1.25

# After this many cuts in a row that brought nothing the strategy stops until the run is older by this factor.
MAX_WITHOUT_GAIN = 2
PATIENCE_WITHOUT_GAIN = 2.0

# A cut that was undone is tried again when the run is older by this factor: the age is the only scale that a run whose end is
# unknown has.
PATIENCE_AFTER_UNDO = 1.5

# A cut that could not be measured (the metric jumped for reasons of its own) is waited for no longer than this many horizons.
MAX_WAIT = 3.0


@dataclass(frozen=True, slots=True)
class Plateau(Strategy):
    """Cut when continuing is worth less than a cut.

    Attributes:
        gain: The gain of the newest measured command, relative to the level before it, or None.
        excess: By how much a scale of 1 holds the metric above its floor, relative to the level now, or None.
        excess_error: Standard error of `excess`.
        undone: The scale of the newest cut that was undone, or None.
        without_gain: Cuts in a row that brought nothing.
        no_increase_before: No trial upwards before this step.
    """

    NAME: ClassVar[str] = "plateau"

    gain: float | None = None
    excess: float | None = None
    excess_error: float = 0.0
    undone: float | None = None
    without_gain: int = 0
    no_increase_before: float = 0.0

    def begin(self, step: int, context: Context) -> Plateau:
        """Return the strategy with what it learned of the excess."""
        return replace(self, no_increase_before=0.0)

    def acts_between_looks(self, context: Context) -> bool:
        """Return whether findings may lead to a command: overfitting, or a rate that may be too low."""
        return context.options.overfitting == "cut" or _may_increase(context)

    def threshold(self, context: Context) -> float:
        """Return what a look must lie below to lead to a cut. A trial that is to be taken back does not count here."""
        if context.forbids:
            return NEVER
        return PROBE_BELOW if self._may_probe(context) else self.worth_of_a_cut(context)

    def worth_of_a_cut(self, limits: CommandLimits) -> float:
        """Return the improvement per horizon, relative to the level, below which a cut is worth more than continuing."""
        return limits.options.first_cut if self.excess is None else EXCESS_SHARE * self.excess * limits.scale

    # ---- looks --------------------------------------------------------------------------------------------------------

    def look(self, trend: Trend, context: Context) -> StrategyDecision:
        """Take a trial back, or cut, or start a probe, if it is time for it."""
        command = context.command
        if not trial_increase.is_on(context):
            if context.schedule_moves or context.forbids:
                return StrategyDecision(self)
            if command.trial is not None and (command.restores or _is_lost(command, trend)):
                return self._undo(command.trial, trend, context)
            return self._cut(trend, context)
        command_back, event = trial_increase.take_back(trend.step, context)
        if event is None:
            return StrategyDecision(self)
        return StrategyDecision(
            replace(self, no_increase_before=trial_increase.PATIENCE * trend.step), command_back, event
        )

    def _cut(self, trend: Trend, context: Context) -> StrategyDecision:
        """Cut where continuing is worth less than a cut, or find out what a cut is worth."""
        early = trend.step < context.earliest or _waits(context.command, trend, context.options)
        scale = context.cut
        if early or scale >= context.scale:
            return StrategyDecision(self)
        worth = self.worth_of_a_cut(context)
        if self._may_probe(context) and trend.samples >= PROBE_SAMPLES:
            most = trend.ratio(trend.improvement_now + trend.margin_now)
            if most >= PROBE_BELOW:
                return StrategyDecision(self)
            command = Command(trend.step, scale, _reason_to_probe(trend, scale), cause="probe")
            return StrategyDecision(self, command, Asked(scale, trial=Trial(context.scale, most)), worth)
        bound = trend.ratio(trend.upper_now if self.excess is None else trend.improvement_now + trend.margin_now)
        if bound >= worth:
            return StrategyDecision(self)
        reason = f"{_continuing(trend)}, surely less than {_percent(bound)}; {self._reason(worth, scale, context)}"
        return StrategyDecision(
            self, Command(trend.step, scale, reason), Asked(scale, trial=Trial(context.scale)), worth
        )

    def _may_probe(self, context: Context) -> bool:
        """Whether an experiment may show the excess: no cut was measured yet, and commands need no approval."""
        return self.excess is None and context.options.mode == "auto" and context.options.probe

    def _reason(self, worth: float, scale: float, context: Context) -> str:
        if self.excess is None:
            return f"{_percent(context.options.first_cut)} is asked before the first cut"
        cut = context.scale - scale
        brought = "nothing" if self.gain is None else _percent(self.gain)
        next_gain = f"{_percent(cut * self.excess)} \u00b1 {_percent(Z95 * cut * self.excess_error)}"
        return (
            f"the last cut brought {brought}, by all so far the next should bring {next_gain}, and going on must be worth "
            f"{EXCESS_SHARE:g} of the excess that the rate causes, {_percent(worth)}"
        )

    def _undo(self, trial: Trial, trend: Trend, context: Context) -> StrategyDecision:
        """Take `trial` back, or end it where the scale is back already."""
        scale = context.bounded(trial.previous)
        if scale <= context.scale:
            return StrategyDecision(self, event=TrialKept())
        quiet = (PATIENCE_AFTER_UNDO if trial.worth is None else PATIENCE_AFTER_PROBE) * trend.step
        reason = f"{self._reason_to_undo(trial)}; it is taken back, and not tried again before step {quiet:.0f}"
        left = trial if scale < trial.previous else None  # further than one command may go: the next look continues
        return StrategyDecision(
            self, Command(trend.step, scale, reason, cause="restore"), ReturnAsked(scale, quiet, trial=left)
        )

    def _reason_to_undo(self, trial: Trial) -> str:
        brought = "could not be measured" if self.gain is None else f"brought {_percent(self.gain)}"
        if trial.worth is None:
            return f"No gain: the last cut cost progress (it {brought})"
        if self.gain is not None and self.gain <= 0:
            return f"No gain: the trial {brought}"
        return (
            f"the trial {brought}, while going on is worth up to {_percent(trial.worth)} per horizon: it came too early"
        )

    # ---- findings -----------------------------------------------------------------------------------------------------

    def found(self, finding: Finding, context: Context, *, watched: bool) -> StrategyDecision:
        """Try a higher rate where it may be too low, and cut where the run overfits, if the settings permit it."""
        if finding.kind == "too_slow" and watched and _may_increase(context):
            look = context.last_look
            continuing = 0.0 if look is None else look.ratio(look.improvement_now)
            return StrategyDecision(self, *trial_increase.ask(finding, continuing, self.no_increase_before, context))
        scale = context.cut
        slows = finding.kind == "overfitting" and context.options.overfitting == "cut" and scale < context.scale
        if not slows or context.refuses(scale, finding.step):
            return StrategyDecision(self)
        reason = f"{finding.message}; scale {scale:.4g} slows that"
        return StrategyDecision(self, Command(finding.step, scale, reason, cause="overfitting"), Asked(scale))

    # ---- what commands brought ------------------------------------------------------------------------------------------

    def measured(
        self, effect: Effect, level_ratio: float, context: Context
    ) -> tuple[Plateau, TrialKept | TrialFailed | None, float]:
        """Judge the trial, and pool what a cut showed of the excess with what is known."""
        command = context.command
        trial = command.trial if command.status is Status.ON_TRIAL else None
        if trial is not None and trial.previous < effect.scale:
            return self, trial_increase.judge(effect, trial.worth or 0.0), 0.0
        if trial is None or trial.previous <= effect.scale:  # not ours, or no cut
            return replace(self, gain=effect.gain), None, 0.0
        excess, error = self._pooled(effect, trial.previous)
        if trial.worth is None:
            fails = effect.upper < 0 and effect.scale != self.undone
            without_gain = self.without_gain + 1 if effect.gain <= 0 else 0
        else:
            fails = trial.worth >= EXCESS_SHARE * max(excess, 0.0) * trial.previous
            without_gain = 0
            if fails and effect.verdict == "no certain gain":  # noise hid it: nothing is known yet
                return replace(self, gain=effect.gain), TrialFailed(), 0.0
        stops = without_gain >= MAX_WITHOUT_GAIN
        learned = replace(
            self,
            gain=effect.gain,
            excess=max(excess, 0.0) / level_ratio,
            excess_error=error / level_ratio,
            undone=effect.scale if fails and trial.worth is None else self.undone,
            without_gain=0 if stops else without_gain,
        )
        quiet = PATIENCE_WITHOUT_GAIN * effect.step if stops else 0.0
        return learned, TrialFailed() if fails else TrialKept(), quiet

    def _pooled(self, effect: Effect, previous: float) -> tuple[float, float]:
        """Return the excess and its error by all cuts so far, this one from scale `previous` included."""
        cut = previous - effect.scale
        excess, error = effect.gain / cut, (effect.upper - effect.lower) / (2 * Z95) / cut
        if self.excess is None:
            known = known_error = FIRST_GUESS / (previous or 1.0)
        else:
            known, known_error = self.excess, self.excess_error / math.sqrt(OLD_COUNTS)
        weight = _weight(known_error, error)
        return known + weight * (excess - known), math.sqrt(weight) * error

    def refused(self, until: float, context: Context) -> tuple[Plateau, float]:
        """Try no higher rate before `until`, unless a trial is being taken back."""
        if context.command.restores and trial_increase.is_on(context):
            return self, until
        return replace(self, no_increase_before=max(self.no_increase_before, until)), until


def _may_increase(context: Context) -> bool:
    """Whether the settings permit a rate above the one that the trainer's own schedule gives."""
    return context.options.max_scale > 1


def _is_lost(command: CommandState, trend: Trend) -> bool:
    """Whether the current probe timed out unmeasured: the curve changed for other reasons."""
    if command.trial is None or command.trial.worth is None or command.applied_at is None:
        return False
    return trend.step - command.applied_at >= MAX_WAIT * trend.horizon


def _waits(command: CommandState, trend: Trend, options: PolicyOptions) -> bool:
    """Whether the newest command is too young, or not measured yet."""
    if command.applied_at is None:
        return False
    horizons = options.cooldown if command.trial is None else max(options.cooldown, MAX_WAIT)
    return trend.step - command.applied_at < horizons * trend.horizon


def _weight(known_error: float, error: float) -> float:
    """Return the weight of a new estimate with this error beside an old one with that."""
    total = known_error * known_error + error * error
    return known_error * known_error / total if total > 0 else 1.0


def _reason_to_probe(trend: Trend, scale: float) -> str:
    return (
        f"{_continuing(trend)}, and what a cut brings is not known yet: scale {scale:.4g} is tried for as long, and kept if going on "
        f"is worth less than {EXCESS_SHARE:g} of the excess that shows"
    )


def _continuing(trend: Trend) -> str:
    worth = f"{_percent(trend.ratio(trend.improvement_now))} \u00b1 {_percent(trend.ratio(trend.margin_now))}"
    return f"going on brings {worth} per {trend.horizon:.0f} steps"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.2g} %"
