"""The value-of-a-cut policy: reduce the learning rate when going on is surely worth less than a cut.

Going on is worth the improvement per horizon; its upper confidence bound, at one look, comes from the plateau detector's
looks. A cut is worth what the last one brought, times `factor`: each cut leaves so much of the noise floor. PATIENCE_SHARE of
that is asked of going on, because a cut that comes too early costs progress that no later cut returns. Before the first cut
there is nothing to learn from, so `first_cut` per horizon, relative to the level, stands in for it.

Every cut is a trial, measured against going on. It is taken back in two cases. Where the metric is no better than going on
would have made it, it slowed a run that was merely slow; it is not tried again before the run is older by
PATIENCE_AFTER_RESTORE, and after MAX_WITHOUT_GAIN such cuts in a row the policy has nothing more to offer. Where it brought
something, but less than going on is worth, it came too early; what it brought is known from then on, and the same cut is
made again when going on is worth less than that.

`decide` is a pure step over `PolicyState`: a test builds a state and takes one step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Command, Effect
from lrwatch.core.options import PolicyOptions
from lrwatch.core.policies import guards

# Going on must surely bring less per horizon than this share of what the next cut should bring. In closed loop on noisy
# quadratic problems 0.3 comes too late (geometric mean 2.0 over the best hindsight-tuned schedules, against 1.8), 0.8 too
# early (2.0); a controller that knows the true risk does best between 0.2 and 0.3.
PATIENCE_SHARE = 0.4

# A cut is kept if going on was worth less per horizon than this share of what it brought: a little more than was asked for
# before it, so that noise does not undo what it has done.
KEEP_SHARE = 0.5

# Cuts in a row without gain until the policy stops.
MAX_WITHOUT_GAIN = 2

# A cut that was taken back is tried again when the run is older by this factor: the age is the only scale that a run whose
# end is unknown has. Sooner, where the cut brought something and was only too early.
PATIENCE_AFTER_RESTORE = 1.5
PATIENCE_AFTER_TRIAL = 1.25


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What the policy remembers.

    Attributes:
        scale: The scale that the trainer is known to use.
        asked: The scale that was asked for and neither applied nor rejected yet, or None.
        commands: Commands so far. applied_at: Step of the newest applied one, or None.
        previous: The scale before the newest cut, while that was not measured, or while it is to be taken back.
        take_back: The newest cut brought nothing, or less than going on is worth.
        gain: What the newest cut that helped brought, relative to the level before it, or None.
        going: What going on was worth per horizon, relative to the level, when the newest cut was asked for.
        tried: The cut that brought `gain` was taken back, so the next one is the same cut again.
        without_gain: Cuts in a row that were taken back.
        quiet_until: No command before this step (set when one was rejected).
        schedule_moves: The trainer's own schedule is moving the learning rate: a plateau is advice, no reason to act.
    """

    scale: float = 1.0
    asked: float | None = None
    commands: int = 0
    applied_at: int | None = None
    previous: float | None = None
    take_back: bool = False
    gain: float | None = None
    going: float = 0.0
    tried: bool = False
    without_gain: int = 0
    quiet_until: float = 0.0
    schedule_moves: bool = False


def decide(state: PolicyState, trend: Trend, options: PolicyOptions) -> tuple[PolicyState, Command | None]:
    """One look: the state after it, and the command that is worth giving now, or None."""
    if options.strategy != "plateau" or state.schedule_moves or guards.forbid(state, options):
        return state, None
    if state.take_back and state.previous is not None:
        return _take_back(state, state.previous, trend, options)
    if state.without_gain >= MAX_WITHOUT_GAIN:
        return state, None
    if trend.step < guards.earliest(state, options):
        return state, None
    if state.applied_at is not None and trend.step - state.applied_at < options.cooldown * trend.horizon:
        return state, None
    scale = guards.bounded(state.scale * options.factor, state, options)
    worth = going_on_must_bring(state, options)
    if scale >= state.scale or trend.ratio(trend.upper_now) >= worth:
        return state, None
    if state.gain is None:
        why = f"{_percent(options.first_cut)} is asked before the first cut"
    else:
        why = (
            f"the last cut brought {_percent(state.gain)}, the next should bring {_percent(_next_gain(state, options))}, and "
            f"going on must be worth {PATIENCE_SHARE:g} of that, {_percent(worth)}"
        )
    reason = (
        f"going on brings {_percent(trend.ratio(trend.improvement_now))} per {trend.horizon:.0f} steps, surely less than "
        f"{_percent(trend.ratio(trend.upper_now))}; {why}"
    )
    asked = replace(
        state,
        asked=scale,
        previous=state.scale,
        take_back=False,
        going=trend.ratio(trend.improvement_now),
        commands=state.commands + 1,
    )
    return asked, Command(trend.step, scale, reason)


def _take_back(
    state: PolicyState, before: float, trend: Trend, options: PolicyOptions
) -> tuple[PolicyState, Command | None]:
    scale = guards.bounded(before, state, options)
    if scale <= state.scale:
        return replace(state, previous=None, take_back=False), None
    if state.tried and state.gain is not None:
        quiet = PATIENCE_AFTER_TRIAL * trend.step
        why = f"brought {_percent(state.gain)}, while going on is worth {_percent(state.going)} per horizon: it came too early"
    else:
        quiet = PATIENCE_AFTER_RESTORE * trend.step
        why = "brought nothing"
    reason = f"the last cut {why}; it is taken back, and not tried again before step {quiet:.0f}"
    further = scale < before  # than one command may go: the next look goes on
    asked = replace(
        state,
        asked=scale,
        previous=before if further else None,
        take_back=further,
        quiet_until=quiet,
        commands=state.commands + 1,
    )
    return asked, Command(trend.step, scale, reason, cause="restore")


def going_on_must_bring(state: PolicyState, options: PolicyOptions) -> float:
    """The improvement per horizon, relative to the level, below which a cut is worth more."""
    return options.first_cut if state.gain is None else PATIENCE_SHARE * _next_gain(state, options)


def _next_gain(state: PolicyState, options: PolicyOptions) -> float:
    """What the next cut should bring; the same cut brings the same, a further one what the last one left."""
    gain = state.gain or 0.0
    return gain if state.tried else options.factor * gain


def worth_looking_for(state: PolicyState, options: PolicyOptions) -> float:
    """`decide` has nothing to say to a look whose `upper_now` ratio is not below this; -inf where it has not to any.

    But for a cut that is to be taken back.
    """
    silent = options.strategy != "plateau" or guards.forbid(state, options) or state.without_gain >= MAX_WITHOUT_GAIN
    return -math.inf if silent else going_on_must_bring(state, options)


def applied(state: PolicyState, step: int, scale: float) -> PolicyState:
    """The trainer uses `scale` from `step` on."""
    return replace(state, scale=scale, asked=None, applied_at=step)


def rejected(state: PolicyState, until: float) -> PolicyState:
    """The trainer refused, or an operator did: keep still until step `until`."""
    return replace(state, asked=None, quiet_until=until)


def learned(state: PolicyState, effect: Effect) -> PolicyState:
    """The newest cut was measured."""
    if effect.gain <= 0:
        return replace(state, tried=False, take_back=True, without_gain=state.without_gain + 1)
    early = state.going > KEEP_SHARE * effect.gain
    previous = state.previous if early else None
    return replace(state, gain=effect.gain, tried=early, take_back=early, previous=previous, without_gain=0)


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.2g} %"
