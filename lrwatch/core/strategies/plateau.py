"""The value-of-a-cut policy: reduce the learning rate when going on is surely worth less than a cut.

A learning rate holds the loss above what it could be, by an excess that grows with the rate: the noise floor. Every cut
shows how much: it takes a part of the excess away. So the policy keeps one number with its error, the excess for a scale of
1, and each measured cut improves it: the estimates of all cuts are pooled, each weighted by its precision, older ones less. A
cut whose effect noise hides then neither stops nor reverses the policy: it weighs little. What going on is worth is the
improvement per horizon that a look sees, with its interval. The rate is cut again when even the upper end of that interval
is less than EXCESS_SHARE of the excess at the scale in use.

Before the first cut nothing is known of the excess. Where commands are sent, the policy finds out: once PROBE_SAMPLES values
have come, and going on does not bring very much, it cuts for a horizon as an experiment, a *probe*. The probe stays if going on
is worth less than EXCESS_SHARE of the excess that it showed; otherwise it came too early, and is taken back. Where noise
hides its effect FIRST_GUESS decides whether it stays; if it does not, nothing was learned, and it is made again later. It costs
half a horizon's progress at the most. Elsewhere `first_cut` per horizon, relative to the level, stands in for what is not known, with
a bound that is harder to pass.

A cut that surely cost progress is undone, once a level, and not tried again before the run is older by
PATIENCE_AFTER_UNDO. After MAX_WITHOUT_GAIN cuts in a row that were no better than going on the policy stops until the run is
older by PATIENCE_WITHOUT_GAIN.

`decide` is a pure step over `PolicyState`: a test builds a state and takes one step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.effect import Z95
from lrwatch.core.events import Command, Effect
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies import limits

# Going on must bring more per horizon than this share of the excess. On a power law of the sum of all rates the best share is
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

# Where going on may bring more than this per horizon the run is still in its steepest stretch, and no probe would stay.
PROBE_BELOW = 0.1

# A probe that was taken back is made again, as a cut of the usual kind, when the run is older by this factor.
PATIENCE_AFTER_PROBE = 1.25

# After so many cuts in a row that brought nothing the policy stops until the run is older by this factor.
MAX_WITHOUT_GAIN = 2
PATIENCE_WITHOUT_GAIN = 2.0

# A cut that was undone is tried again when the run is older by this factor: the age is the only scale that a run whose end is
# unknown has.
PATIENCE_AFTER_UNDO = 1.5

# A cut that could not be measured (the metric jumped for reasons of its own) is waited for no longer than so many horizons.
MAX_WAIT = 3.0


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What the policy remembers.

    Attributes:
        scale: The scale that the trainer is known to use.
        asked: The scale that was asked for and neither applied nor rejected yet, or None.
        commands: Commands so far. applied_at: Step of the newest applied one, or None.
        previous: The scale before the newest cut, while that was not measured, or while it is to be undone.
        take_back: The newest cut cost progress.
        gain: What the newest measured cut brought, relative to the level before it, or None.
        excess: By how much a scale of 1 holds the metric above its floor, relative to the level now, or None.
        excess_error: Standard error of `excess`.
        undone: The scale of the newest cut that was undone, or None.
        probe: Upper end of what going on was worth per horizon when the newest cut, a probe, was asked for; None if it was none.
        without_gain: Cuts in a row that brought nothing.
        quiet_until: No command before this step (set when one was rejected, or undone).
        schedule_moves: The trainer's own schedule is moving the learning rate: a plateau is advice, no reason to act.
    """

    scale: float = 1.0
    asked: float | None = None
    commands: int = 0
    applied_at: int | None = None
    previous: float | None = None
    take_back: bool = False
    gain: float | None = None
    excess: float | None = None
    excess_error: float = 0.0
    undone: float | None = None
    probe: float | None = None
    without_gain: int = 0
    quiet_until: float = 0.0
    schedule_moves: bool = False

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> PolicyState:
        """From the form that `dataclasses.asdict` gives, of this version or of one before, which knew the last gain alone."""
        names = {field.name for field in fields(cls)}
        restored = cls(**{name: value for name, value in state.items() if name in names})
        if "excess" not in state and restored.gain is not None:  # a cut by half took away what it left
            excess = restored.gain / restored.scale
            return replace(restored, excess=excess, excess_error=excess)
        return restored


def decide(state: PolicyState, trend: Trend, options: PolicyOptions) -> tuple[PolicyState, Command | None]:
    """One look: the state after it, and the command that is worth giving now, or None."""
    if options.strategy != "plateau" or state.schedule_moves or limits.forbid(state, options):
        return state, None
    if state.previous is not None and (state.take_back or _is_lost(state, trend)):
        return _undo(state, state.previous, trend, options)
    early = trend.step < limits.earliest(state, options) or _waits(state, trend, options)
    scale = limits.bounded(state.scale * options.factor, state, options)
    if early or scale >= state.scale:
        return state, None
    if _is_unknown(state, options) and trend.samples >= PROBE_SAMPLES:
        return _probe(state, scale, trend)
    bound = trend.upper_now if state.excess is None else trend.improvement_now + trend.margin_now
    worth = going_on_must_bring(state, options)
    if trend.ratio(bound) >= worth:
        return state, None
    reason = f"{_going(trend)}, surely less than {_percent(trend.ratio(bound))}; {_why(state, scale, worth, options)}"
    asked = replace(state, asked=scale, previous=state.scale, take_back=False, commands=state.commands + 1, probe=None)
    return asked, Command(trend.step, scale, reason)


def _is_unknown(state: PolicyState, options: PolicyOptions) -> bool:
    """Whether an experiment may show the excess: no cut was measured yet, and commands need nobody's leave."""
    return state.excess is None and options.mode == "auto" and options.probe


def _probe(state: PolicyState, scale: float, trend: Trend) -> tuple[PolicyState, Command | None]:
    """Cut for a horizon, to see what that brings."""
    most = trend.ratio(trend.improvement_now + trend.margin_now)
    if most >= PROBE_BELOW:
        return state, None
    reason = (
        f"{_going(trend)}, and what a cut brings is not known yet: scale {scale:.4g} is tried for as long, and kept if going on "
        f"is worth less than {EXCESS_SHARE:g} of the excess that shows"
    )
    asked = replace(state, asked=scale, previous=state.scale, take_back=False, commands=state.commands + 1, probe=most)
    return asked, Command(trend.step, scale, reason, cause="probe")


def _is_lost(state: PolicyState, trend: Trend) -> bool:
    """Whether the newest cut is a probe of which nothing will be learned: the curve changed for other reasons."""
    lost = state.probe is not None and state.applied_at is not None
    return lost and trend.step - (state.applied_at or 0) >= MAX_WAIT * trend.horizon


def _going(trend: Trend) -> str:
    going = f"{_percent(trend.ratio(trend.improvement_now))} \u00b1 {_percent(trend.ratio(trend.margin_now))}"
    return f"going on brings {going} per {trend.horizon:.0f} steps"


def _waits(state: PolicyState, trend: Trend, options: PolicyOptions) -> bool:
    """Whether the newest command is too young, or not measured yet."""
    if state.applied_at is None:
        return False
    horizons = options.cooldown if state.previous is None else max(options.cooldown, MAX_WAIT)
    return trend.step - state.applied_at < horizons * trend.horizon


def _why(state: PolicyState, scale: float, worth: float, options: PolicyOptions) -> str:
    if state.excess is None:
        return f"{_percent(options.first_cut)} is asked before the first cut"
    cut = state.scale - scale
    brought = "nothing" if state.gain is None else _percent(state.gain)
    next_gain = f"{_percent(cut * state.excess)} \u00b1 {_percent(Z95 * cut * state.excess_error)}"
    return (
        f"the last cut brought {brought}, by all so far the next should bring {next_gain}, and going on must be worth "
        f"{EXCESS_SHARE:g} of the excess that the rate causes, {_percent(worth)}"
    )


def _undo(
    state: PolicyState, before: float, trend: Trend, options: PolicyOptions
) -> tuple[PolicyState, Command | None]:
    scale = limits.bounded(before, state, options)
    if scale <= state.scale:
        return replace(state, previous=None, take_back=False, probe=None), None
    quiet = (PATIENCE_AFTER_UNDO if state.probe is None else PATIENCE_AFTER_PROBE) * trend.step
    reason = f"{_why_undo(state)}; it is taken back, and not tried again before step {quiet:.0f}"
    further = scale < before  # than one command may go: the next look goes on
    asked = replace(
        state,
        asked=scale,
        previous=before if further else None,
        take_back=further,
        probe=state.probe if further else None,
        quiet_until=quiet,
        commands=state.commands + 1,
    )
    return asked, Command(trend.step, scale, reason, cause="restore")


def _why_undo(state: PolicyState) -> str:
    brought = "could not be measured" if state.gain is None else f"brought {_percent(state.gain)}"
    if state.probe is None:
        return f"No gain: the last cut cost progress (it {brought})"
    if state.gain is not None and state.gain <= 0:
        return f"No gain: the trial {brought}"
    return f"the trial {brought}, while going on is worth up to {_percent(state.probe)} per horizon: it came too early"


def going_on_must_bring(state: PolicyState, options: PolicyOptions) -> float:
    """The improvement per horizon, relative to the level, below which a cut is worth more."""
    return options.first_cut if state.excess is None else EXCESS_SHARE * state.excess * state.scale


def worth_looking_for(state: PolicyState, options: PolicyOptions) -> float:
    """`decide` has nothing to say to a look whose bound, relative to the level, is not below this; -inf where it has not to any.

    But for a cut that is to be undone.
    """
    if options.strategy != "plateau" or limits.forbid(state, options):
        return -math.inf
    return PROBE_BELOW if _is_unknown(state, options) else going_on_must_bring(state, options)


def applied(state: PolicyState, step: int, scale: float) -> PolicyState:
    """The trainer uses `scale` from `step` on."""
    return replace(state, scale=scale, asked=None, applied_at=step)


def rejected(state: PolicyState, until: float) -> PolicyState:
    """The trainer refused, or an operator did: keep still until step `until`."""
    kept = (state.previous, state.probe) if state.take_back else (None, None)
    return replace(state, asked=None, previous=kept[0], probe=kept[1], quiet_until=until)


def learned(state: PolicyState, effect: Effect, level_ratio: float = 1.0) -> PolicyState:
    """The newest cut was measured.

    Args:
        state: What was known.
        effect: What it brought.
        level_ratio: The level of the metric now over the level before the cut.
    """
    if state.previous is None or state.previous <= effect.scale:  # not ours, or no cut
        return replace(state, gain=effect.gain)
    cut = state.previous - effect.scale
    excess, error = effect.gain / cut, (effect.upper - effect.lower) / (2 * Z95) / cut
    known, known_error = _known(state)
    weight = _weight(known_error, error)
    excess, error = known + weight * (excess - known), math.sqrt(weight) * error
    if state.probe is None:
        costs = effect.upper < 0 and effect.scale != state.undone
        without_gain = state.without_gain + 1 if effect.gain <= 0 else 0
    else:
        costs = state.probe >= EXCESS_SHARE * max(excess, 0.0) * state.previous
        without_gain = 0
    stops = without_gain >= MAX_WITHOUT_GAIN
    if state.probe is not None and costs and effect.verdict == "no certain gain":  # noise hid it: nothing is known yet
        return replace(state, gain=effect.gain, take_back=True)
    return replace(
        state,
        gain=effect.gain,
        excess=max(excess, 0.0) / level_ratio,
        excess_error=error / level_ratio,
        take_back=costs,
        previous=state.previous if costs else None,
        undone=effect.scale if costs and state.probe is None else state.undone,
        probe=state.probe if costs else None,
        without_gain=0 if stops else without_gain,
        quiet_until=max(state.quiet_until, PATIENCE_WITHOUT_GAIN * effect.step) if stops else state.quiet_until,
    )


def _known(state: PolicyState) -> tuple[float, float]:
    """What was known of the excess before the newest cut was measured, and its error."""
    if state.excess is None:
        guess = FIRST_GUESS / (state.previous or 1.0)
        return guess, guess
    return state.excess, state.excess_error / math.sqrt(OLD_COUNTS)


def _weight(known_error: float, error: float) -> float:
    """The weight of a new estimate with this error beside an old one with that."""
    total = known_error * known_error + error * error
    return known_error * known_error / total if total > 0 else 1.0


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.2g} %"
