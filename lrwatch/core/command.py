"""The life of one command: from the scale that a strategy wants to the proof that it helped.

One command at a time is on its way. A strategy or an operator asks, the trainer applies or refuses, and the effect is measured
against a baseline: the line that the metric followed just before. A command that comes with a way back is a *trial*. It
stays if its strategy finds the effect good enough, and is taken back otherwise.

- IDLE: nothing is on its way and nothing is on trial.
- IN_FLIGHT: a scale is wanted. The trainer has not answered, or an operator has not approved it.
- ON_TRIAL: the scale of a trial is in use, and no verdict has been given. Without a baseline its effect is unknown.
- TAKING_BACK: the trial failed. The way back is due, or it is on its way to the trainer. Where the limits of one command
  do not let it reach the scale before the trial at once, it takes several commands. What is unproven does not stay: the way back is
  due again where its command was not applied, and where a trainer resumes with the scale of the trial, as from a checkpoint.
- QUIET: as IDLE, after something failed: strategies wait until `quiet_until`.

`quiet_until` outlives QUIET: an operator may command earlier, and strategies still wait. The baseline, too, is
independent of the status: the stair of a schedule is measured and is no trial.

`TRANSITIONS` is the whole machine. A pair of status and event that it does not hold cannot happen, and `step` raises for
it. Where a row holds two statuses, the first applies while something of the command is left: a trial, or a wanted scale.

One file because the table, its states and its events are read together. The shape follows h11's `_state.py`: prose, then one
table.

>>> state = step(CommandState(), Asked(0.5, trial=Trial(1.0)))
>>> state.status.name, state.scale, state.wanted
('IN_FLIGHT', 1.0, 0.5)
>>> state = step(state, Applied(100, 0.5, sign=1.0))
>>> state.status.name, state.scale, state.wanted
('ON_TRIAL', 0.5, None)
>>> step(state, TrialFailed()).status.name
'TAKING_BACK'
>>> step(CommandState(), TrialFailed())
Traceback (most recent call last):
lrwatch.core.command.InvalidTransitionError: a command that is idle cannot take TrialFailed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any, NamedTuple

from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.effect import Baseline

# A jump of the logged learning rate matches a command if it differs from the wanted ratio by less than this: logs are
# rounded.
RATIO_TOLERANCE = 0.02


class Status(str, Enum):
    """Where a command stands; see the module."""

    IDLE = "idle"
    IN_FLIGHT = "in_flight"
    ON_TRIAL = "on_trial"
    TAKING_BACK = "taking_back"
    QUIET = "quiet"


class ScaleRamp(NamedTuple):
    """A scale that moves along a line.

    Attributes:
        start: The scale before its first step.
        step: Its first step.
        steps: How many steps it has.
    """

    start: float
    step: int
    steps: int


class Trial(NamedTuple):
    """The way back of a command on trial.

    Attributes:
        previous: The scale before the trial.
        worth: What continuing was worth per horizon when the trial began, relative to the level of the metric, where a look at the
            trend measures it; None where its strategy measures it by the curve.
    """

    previous: float
    worth: float | None = None


@dataclass(frozen=True, slots=True)
class CommandState:
    """The state of the newest command.

    Attributes:
        status: Where it stands.
        scale: The scale that the trainer is known to use; where a ramp is under way, the scale at its end.
        wanted: The scale of a command that has no answer yet, or None.
        wanted_ramp: Steps over which the trainer is to move to `wanted`; 0 is at once.
        ramp: The ramp of the newest applied command, or None where it was at once.
        by_operator: Whether an operator asked for `wanted`.
        look: The newest look at the trend when `wanted` was set: the baseline, if it is applied.
        trial: The way back, from the question until the verdict, or None.
        tried: Scale of the newest trial that was applied and has not been proven since, and its way back; None before one.
        baseline: What the effect of the newest applied command is measured against, until it is measured, or None.
        log_ratio: The ratio by which the logged learning rate is about to jump because of the newest command, or None.
        earlier_ratio: The same for the command before it, where that was applied and the log is so far behind that it has not shown it.
        applied_at: Step from which the newest applied command was in force, or None.
        count: Commands of strategies so far, for the budget.
        quiet_until: Strategies give no command before this step.
    """

    status: Status = Status.IDLE
    scale: float = 1.0
    wanted: float | None = None
    wanted_ramp: int = 0
    ramp: ScaleRamp | None = None
    by_operator: bool = False
    look: Trend | None = None
    trial: Trial | None = None
    tried: tuple[float, Trial] | None = None
    baseline: Baseline | None = None
    log_ratio: float | None = None
    earlier_ratio: float | None = None
    applied_at: int | None = None
    count: int = 0
    quiet_until: float = 0.0

    @property
    def restores(self) -> bool:
        """Whether the trial failed and the way back is due or on its way."""
        return self.status is Status.TAKING_BACK

    @property
    def effect_is_unknown(self) -> bool:
        """Whether a trial is in use that cannot be measured any more."""
        return self.status is Status.ON_TRIAL and self.baseline is None

    def ramps_at(self, step: int) -> bool:
        """Whether a ramp is under way at `step`."""
        return self.ramp is not None and step < self.ramp.step + self.ramp.steps - 1

    def scale_at(self, step: int) -> float:
        """Return the scale of the optimizer step `step`: `scale`, or that of the ramp which is under way.

        >>> state = step(step(CommandState(), Asked(0.2, ramp_steps=4)), Applied(11, 0.2, sign=1.0))
        >>> [round(state.scale_at(at), 3) for at in (10, 11, 12, 13, 14, 15)]
        [1.0, 0.8, 0.6, 0.4, 0.2, 0.2]
        """
        if self.ramp is None or step >= self.ramp.step + self.ramp.steps - 1:
            return self.scale
        done = max(step - self.ramp.step + 1, 0) / self.ramp.steps
        return self.ramp.start + (self.scale - self.ramp.start) * done

    def explains(self, ratio: float) -> bool:
        """Whether a jump of the logged learning rate by `ratio` is that of the newest command."""
        return self.log_ratio is not None and abs(ratio / self.log_ratio - 1) < RATIO_TOLERANCE

    def explained_earlier(self, ratio: float) -> bool:
        """Whether a jump of the logged learning rate by `ratio` is that of the command before the newest."""
        return self.earlier_ratio is not None and abs(ratio / self.earlier_ratio - 1) < RATIO_TOLERANCE

    @property
    def not_yet_in_log(self) -> float | None:
        """The ratio of a command that was applied and that the log has not shown, or None."""
        return self.log_ratio if self.wanted is None else self.earlier_ratio

    def as_json(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        trial = None if self.trial is None else list(self.trial)
        tried = None if self.tried is None else [self.tried[0], list(self.tried[1])]
        ramp = None if self.ramp is None else list(self.ramp)
        return {**asdict(self), "status": self.status.value, "trial": trial, "tried": tried, "ramp": ramp}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> CommandState:
        """Return the state that `as_json` gave."""
        look, trial, tried, baseline, ramp = (state[name] for name in ("look", "trial", "tried", "baseline", "ramp"))
        return cls(
            **{
                **state,
                "status": Status(state["status"]),
                "look": None if look is None else Trend(**look),
                "trial": None if trial is None else Trial(*trial),
                "tried": None if tried is None else (tried[0], Trial(*tried[1])),
                "ramp": None if ramp is None else ScaleRamp(*ramp),
                "baseline": None if baseline is None else Baseline(**baseline),
            }
        )


# ---- events --------------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A scale is wanted: by a strategy, or by an operator, who ends a trial. `trial` is the way back, if it is on trial."""

    scale: float
    trial: Trial | None = None
    by_operator: bool = False
    ramp_steps: int = 0


class ReturnAsked(NamedTuple):
    """The way back of a trial is wanted. `trial` is what is left of it after this command; strategies wait until `quiet_until`."""

    scale: float
    quiet_until: float
    trial: Trial | None = None


class Applied(NamedTuple):
    """The trainer uses `scale` from `step` on.

    `sign` is +1 for a metric to minimise and -1 for one to maximise. `in_log` says that the learning rate in the log
    showed it; otherwise the trainer acknowledged it, and the log may still show it.
    """

    step: int
    scale: float
    sign: float
    in_log: bool = False


class AlreadyInUse(NamedTuple):
    """The trainer answers that it uses the wanted scale, as it did before."""


class Refused(NamedTuple):
    """The wanted scale will not be applied: rejected, denied, expired or outdated. Strategies wait until `until`."""

    until: float


class EffectMeasured(NamedTuple):
    """The effect of the newest applied command was measured. Strategies wait until `quiet_until`, where it is later."""

    quiet_until: float = 0.0


class TrialKept(NamedTuple):
    """The trial is over, and the scale in use stays."""


class TrialFailed(NamedTuple):
    """The trial is over, and is to be taken back."""


class LogFollowed(NamedTuple):
    """The log has shown the jump of an applied command, or does not show jumps."""


class MetricChanged(NamedTuple):
    """Another metric is watched: lines of the one before are no baseline for it."""


class LevelShifted(NamedTuple):
    """The level of the metric shifted for another reason: its effect hides that of the command."""


class BaselineTooOld(NamedTuple):
    """The command was applied, or is measured, so long after its baseline that the effect is unknown."""


class Reset(NamedTuple):
    """A resume, a rewind, or a jump of the trainer's own schedule: the curve before does not compare."""


class Joined(NamedTuple):
    """A trainer connects at `step` and uses `scale`, which is not the scale that was known."""

    step: int
    scale: float


CommandInput = (
    Asked
    | ReturnAsked
    | Applied
    | AlreadyInUse
    | Refused
    | EffectMeasured
    | TrialKept
    | TrialFailed
    | LogFollowed
    | MetricChanged
    | LevelShifted
    | BaselineTooOld
    | Reset
    | Joined
)
EVENTS: tuple[type[CommandInput], ...] = CommandInput.__args__


# ---- the table -----------------------------------------------------------------------------------------------------


class Fork(NamedTuple):
    """Two next statuses: while a trial or a wanted scale is left, and once nothing is left."""

    left: Status
    done: Status


_I, _F, _T, _B, _Q = Status.IDLE, Status.IN_FLIGHT, Status.ON_TRIAL, Status.TAKING_BACK, Status.QUIET

# fmt: off
TRANSITIONS: dict[Status, dict[type[CommandInput], Status | Fork]] = {
    _I: {
        Asked: _F, Applied: _I, AlreadyInUse: _I, Refused: _Q, EffectMeasured: _I, TrialKept: _I,
        LogFollowed: _I, MetricChanged: _I, LevelShifted: _I, BaselineTooOld: _I, Reset: _I, Joined: Fork(_B, _I),
    },
    _F: {
        Asked: _F, Applied: Fork(_T, _I), AlreadyInUse: Fork(_T, _I), Refused: _Q, EffectMeasured: _F, TrialKept: _F,
        LogFollowed: _F, MetricChanged: _F, LevelShifted: _F, BaselineTooOld: _F, Reset: Fork(_T, _I), Joined: Fork(_B, _I),
    },
    _T: {
        Asked: _F, ReturnAsked: _B, Applied: _T, AlreadyInUse: _T, Refused: _T, EffectMeasured: _T, TrialKept: _I, TrialFailed: _B,
        LogFollowed: _T, MetricChanged: _T, LevelShifted: _T, BaselineTooOld: _T, Reset: _T, Joined: Fork(_B, _I),
    },
    _B: {
        Asked: _F, ReturnAsked: _B, Applied: Fork(_B, _Q), AlreadyInUse: Fork(_B, _Q), Refused: Fork(_B, _Q), EffectMeasured: _B,
        TrialKept: Fork(_B, _I), LogFollowed: _B, MetricChanged: _B, LevelShifted: _B, BaselineTooOld: _B, Reset: Fork(_B, _Q), Joined: Fork(_B, _I),
    },
    _Q: {
        Asked: _F, Applied: _Q, AlreadyInUse: _Q, Refused: _Q, EffectMeasured: _Q, TrialKept: _Q,
        LogFollowed: _Q, MetricChanged: _Q, LevelShifted: _Q, BaselineTooOld: _Q, Reset: _Q, Joined: Fork(_B, _I),
    },
}
# fmt: on


class InvalidTransitionError(ValueError):
    """An event that cannot happen in this status: a fault of the caller."""


def step(state: CommandState, event: CommandInput, *, look: Trend | None = None) -> CommandState:
    """Return the state after `event`.

    Args:
        state: The state before.
        event: What happened.
        look: The newest look at the trend, where `event` asks for a scale: the baseline, if that is applied.

    Returns:
        The state after it.

    Raises:
        InvalidTransitionError: `TRANSITIONS` does not hold this pair of status and event.
    """
    following = TRANSITIONS[state.status].get(type(event))
    if following is None:
        raise InvalidTransitionError(f"a command that is {state.status.value} cannot take {type(event).__name__}")
    after = _changed(state, event, look)
    if isinstance(following, Fork):
        following = following.done if after.trial is None and after.wanted is None else following.left
    return replace(after, status=following)


_NOT_WANTED: dict[str, Any] = {"wanted": None, "wanted_ramp": 0, "by_operator": False, "look": None, "log_ratio": None}


def _changed(state: CommandState, event: CommandInput, look: Trend | None) -> CommandState:
    """Return `state` with what `event` changes beside the status."""
    match event:
        case Asked(scale, trial, by_operator, ramp_steps):
            tried = None if by_operator or (trial is None and _is_of(state.tried, scale)) else state.tried
            return replace(
                state, wanted=scale, wanted_ramp=ramp_steps, look=look, trial=trial, tried=tried, by_operator=by_operator,
                log_ratio=None if ramp_steps else scale / state.scale, earlier_ratio=state.not_yet_in_log,
                count=state.count + (not by_operator),
            )  # fmt: skip
        case ReturnAsked(scale, quiet_until, trial):
            return replace(
                state, wanted=scale, wanted_ramp=0, look=look, trial=trial, by_operator=False, log_ratio=scale / state.scale,
                earlier_ratio=state.not_yet_in_log, count=state.count + 1, quiet_until=quiet_until,
            )  # fmt: skip
        case Applied(at, scale, _, in_log):
            ramp = ScaleRamp(state.scale_at(at - 1), at, state.wanted_ramp) if state.wanted_ramp else None
            log_ratio = None if in_log or ramp else scale / state.scale
            tried = (
                (scale, state.trial) if state.trial is not None and state.status is Status.IN_FLIGHT else state.tried
            )
            after = replace(
                state,
                scale=scale,
                ramp=ramp,
                applied_at=at,
                tried=tried,
                baseline=_baseline(state, event),
                **_NOT_WANTED,
            )
            return replace(after, log_ratio=log_ratio, earlier_ratio=None if in_log else state.earlier_ratio)
        case AlreadyInUse():
            return replace(state, **_NOT_WANTED)
        case Refused(until):
            trial = None if state.status is Status.IN_FLIGHT else _not_proven(state)
            return replace(state, trial=trial, quiet_until=until, **_NOT_WANTED)
        case EffectMeasured(quiet_until):
            return replace(state, baseline=None, quiet_until=max(state.quiet_until, quiet_until))
        case TrialKept():
            return replace(state, trial=None, tried=None if _is_of(state.tried, state.scale) else state.tried)
        case TrialFailed():
            return state
        case LogFollowed() if state.earlier_ratio is not None:
            return replace(state, earlier_ratio=None)
        case LogFollowed():
            return replace(state, log_ratio=None)
        case MetricChanged():
            return replace(state, baseline=None, look=None)
        case LevelShifted() | BaselineTooOld():
            return replace(state, baseline=None)
        case Reset():
            return replace(state, trial=_not_proven(state), baseline=None, earlier_ratio=None, **_NOT_WANTED)
        case Joined(at, scale):
            return replace(
                state, scale=scale, ramp=None, applied_at=at, trial=_resumed(state, scale), baseline=None, earlier_ratio=None, **_NOT_WANTED
            )  # fmt: skip


def _is_of(tried: tuple[float, Trial] | None, scale: float) -> bool:
    """Whether `scale` is that of a trial, or one on the way back from it."""
    if tried is None:
        return False
    low, high = sorted((tried[0], tried[1].previous))
    return low <= scale <= high and scale != tried[1].previous


def _not_proven(state: CommandState) -> Trial | None:
    """Return the trial that the command in flight does not end, because it does not come: the scale in use is unproven still."""
    if state.restores and state.trial is None and state.wanted is not None:  # the command went all the way
        return Trial(state.wanted)
    return state.trial


def _resumed(state: CommandState, scale: float) -> Trial | None:
    """Return the way back of a trainer that resumes with `scale`, if that is unproven: a checkpoint of a trial, or one on its way there."""
    if state.status is Status.IN_FLIGHT and state.wanted == scale:
        return state.trial
    return state.tried[1] if state.tried is not None and _is_of(state.tried, scale) else None


def _baseline(state: CommandState, applied: Applied) -> Baseline | None:
    """Return what the effect is measured against; None for a way up that is no trial, and where no look is known."""
    upward_trial = state.trial is not None and state.trial.previous < applied.scale
    if state.look is None or state.wanted_ramp or not (applied.scale < state.scale or upward_trial):
        return None
    return Baseline.of(state.look, applied.step, applied.scale, applied.sign)
