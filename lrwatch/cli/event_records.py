"""The events that `journal`, `run` and `replay` print with `--format json`, as records: see `lrwatch.cli.records`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from lrwatch.core.events import Kind, LossChange
from lrwatch.core.life import Life
from lrwatch.core.run_length import LengthSource
from lrwatch.core.snapshot import MetricState


class Record(msgspec.Struct, kw_only=True):
    """One record.

    Attributes:
        v: Version of the record; a reader refuses a higher one.
    """

    v: Literal[1]


# ---- events: of `journal`, `run` and `replay` -------------------------------------------------------------------------


class PlaceHeard(msgspec.Struct):
    """The place among the samples of an input from outside.

    Attributes:
        metric: The watched metric, or null.
        values: Number of its values before.
    """

    metric: str | None
    values: int


class EventRecord(Record, kw_only=True, tag_field="event"):
    """One event of a run.

    Attributes:
        run: The run's name.
        step: Step of the run, or null before its first.
        time: Seconds since the epoch, in a journal.
        id: Number of the entry, in a journal.
        hash: Hash of the entry and of all before it, in a journal.
        heard: Its place among the samples, in a journal, where it came from outside.
    """

    run: str
    step: int | None
    time: float | UnsetType = UNSET
    id: int | UnsetType = UNSET
    hash: str | UnsetType = UNSET
    heard: PlaceHeard | UnsetType = UNSET


class FindingEvent(EventRecord, kw_only=True, tag="finding"):
    """A detector found something.

    Attributes:
        metric: The metric.
        kind: What was found.
        evidence: Its numbers, by name.
        message: The finding as a sentence.
    """

    metric: str
    kind: Kind
    evidence: dict[str, float | str | bool | None]
    message: str


class CommandEvent(EventRecord, kw_only=True, tag="command"):
    """A scale was decided on.

    Attributes:
        scale: Absolute multiplier on the schedule's learning rate.
        reason: Why, as a sentence.
        cause: Why, in one word.
        reload: Whether the trainer is asked to go on from its last checkpoint.
        ramp_steps: Optimizer steps over which the scale moves.
        expires_at: The step from which on it is void, where it waits for a person.
        scale_before: The scale at which it was proposed.
        mode: Mode of the run, in a journal.
        state: What was done with it: sent, suggested, awaits approval, held, outdated, no trainer listens, history.
        trainer_step: The step of the trainer that made it outdated.
        generation: Number of the command in the control directory, where it was sent.
    """

    scale: float
    reason: str
    cause: str
    reload: bool | UnsetType = UNSET
    ramp_steps: int | UnsetType = UNSET
    expires_at: int | UnsetType | None = UNSET
    scale_before: float | UnsetType | None = UNSET
    mode: str | UnsetType = UNSET
    state: str | UnsetType = UNSET
    trainer_step: int | UnsetType = UNSET
    generation: int | UnsetType = UNSET


class ExpiredEvent(EventRecord, kw_only=True, tag="expired"):
    """A proposal that nobody answered is void.

    Attributes:
        scale: The scale of the proposal.
        proposed_at: The step at which it was made.
        message: The same as a sentence.
    """

    scale: float
    proposed_at: int
    message: str


class PhaseEvent(EventRecord, kw_only=True, tag="phase"):
    """A new phase begins: the curve is no longer comparable with what came before.

    Attributes:
        cause: start, warmup_end, lr_change, command, resume or level_shift.
        message: The same as a sentence.
    """

    cause: str
    message: str


class EffectEvent(EventRecord, kw_only=True, tag="effect"):
    """A command was measured against the rate before it.

    Attributes:
        scale: The scale that it set.
        gain: Improvement relative to the level before; positive is better.
        lower, upper: 95 % bounds of the gain.
        message: The same as a sentence.
        since: The step from which it was in force.
        before, before_error: The line before it, at `since`, and its standard error.
        expected, expected_error: The same line where the effect was measured.
        came, came_error: The level that came, there.
        others: What the other losses did meanwhile.
    """

    scale: float
    gain: float
    lower: float
    upper: float
    message: str
    since: int | UnsetType = UNSET
    before: float | UnsetType = UNSET
    before_error: float | UnsetType = UNSET
    expected: float | UnsetType = UNSET
    expected_error: float | UnsetType = UNSET
    came: float | UnsetType = UNSET
    came_error: float | UnsetType = UNSET
    others: list[LossChange] | UnsetType = UNSET


class RangeTestEvent(EventRecord, kw_only=True, tag="range_test"):
    """A range test of the learning rate has ended.

    Attributes:
        scales: The scales that were tried, rising.
        levels: The metric on each.
        steepest: Where the metric improved fastest, or null.
        valley: In the middle of the longest improvement, or null.
        diverges: Where the run left its course, or null.
        message: All of it as a sentence.
    """

    scales: list[float]
    levels: list[float]
    steepest: float | None
    valley: float | None
    diverges: float | None
    message: str


class HelloEvent(EventRecord, kw_only=True, tag="hello"):
    """A trainer listens.

    Attributes:
        scale: The scale that it uses.
        generation: Number of the newest command that it knows.
        client: Name and version of its client.
        two_trainers: True where another process that runs uses the control directory too.
    """

    scale: float
    generation: int
    client: str
    two_trainers: bool | UnsetType = UNSET


class AcknowledgedEvent(EventRecord, kw_only=True, tag="acknowledged"):
    """The trainer uses a scale, from `step` on.

    Attributes:
        scale: The scale.
        generation: Number of the command.
        schedule_lr: Learning rate of the trainer's own schedule, by parameter group.
        effective_lr: Learning rate that the optimizer used, by parameter group.
        ramp_steps: Optimizer steps over which the scale moves there.
    """

    scale: float
    generation: int
    schedule_lr: dict[str, float]
    effective_lr: dict[str, float]
    ramp_steps: int | UnsetType = UNSET


class RejectedEvent(EventRecord, kw_only=True, tag="rejected"):
    """The trainer refused a command.

    Attributes:
        scale: The scale that it uses.
        generation: Number of the command.
        code: Why, in one word.
        message: Why, as a sentence.
    """

    scale: float
    generation: int
    code: str
    message: str


class OperatorEvent(EventRecord, kw_only=True, tag="operator"):
    """An operator made a request.

    Attributes:
        verb: What for.
        argument: Its argument, or "".
        actor: Who, as the kernel says.
        uid: Their user id, where it is known.
        done: Whether it was done.
        message: The answer, as a sentence.
    """

    verb: str
    argument: str
    actor: str
    done: bool
    message: str
    uid: int | UnsetType = UNSET


class LifeEvent(EventRecord, kw_only=True, tag="life"):
    """A run is over, or goes on after it was.

    Attributes:
        life: What it is in now.
        message: How that is known, as a sentence.
    """

    life: Life
    message: str


class TakeoverEvent(EventRecord, kw_only=True, tag="takeover"):
    """Another daemon has taken over the run, or this one has taken it over from another one.

    Attributes:
        commands: Whether this daemon commands the run from here on.
        token: Its token.
        message: Who, and in whose place, as a sentence.
    """

    commands: bool
    token: int
    message: str


class ForecastEvent(EventRecord, kw_only=True, tag="forecast"):
    """A forecast of the end of the run was made.

    Attributes:
        metric: The watched metric.
        total_steps: Length of the run.
        value: The mean of the metric over the last twentieth of the run.
        lower, upper: 80 % bounds of it.
        message: The same as a sentence.
    """

    metric: str
    total_steps: int
    value: float
    lower: float
    upper: float
    message: str


class ForecastScoredEvent(ForecastEvent, kw_only=True, tag="forecast_scored"):
    """The end has come, and a forecast is compared with it.

    Attributes:
        made_at: The step at which it was made.
        came: What came.
        error: The difference.
        inside: Whether it is inside the bounds.
    """

    made_at: int
    came: float
    error: float
    inside: bool


class SettingsEvent(EventRecord, kw_only=True, tag="settings"):
    """The settings by which the run is judged from here on.

    Attributes:
        detect, policy, run_options: The sections of the settings.
        watch_metric: The metric that decides by the settings, or "".
        format: How the logs are read.
        length: Length of the run, and who says so.
        versions: Versions of what computes.
        message: The most important of it as a sentence.
    """

    detect: dict[str, Any]
    policy: dict[str, Any]
    run_options: dict[str, Any]
    watch_metric: str
    format: str
    length: tuple[int, LengthSource]
    versions: dict[str, str]
    message: str


class StateEvent(EventRecord, kw_only=True, tag="state"):
    """Where a watched metric stands at the end of a replay.

    Attributes:
        metric: The metric.
        state: Its state.
        since: The step at which the plateau, or the rise, was found, or null.
        tells_at: The step by about which a plateau can be told, or null.
        decides: Whether this metric decides.
        message: The state as a sentence.
    """

    metric: str
    state: MetricState
    since: int | None
    tells_at: int | None
    decides: bool
    message: str


JOURNALLED = (
    FindingEvent, CommandEvent, ExpiredEvent, PhaseEvent, EffectEvent, RangeTestEvent, HelloEvent, AcknowledgedEvent,
    RejectedEvent, OperatorEvent, LifeEvent, TakeoverEvent, ForecastEvent, ForecastScoredEvent, SettingsEvent,
)  # fmt: skip
"""Kinds of events that a journal has."""

REPLAYED = (
    FindingEvent,
    CommandEvent,
    ExpiredEvent,
    PhaseEvent,
    EffectEvent,
    RangeTestEvent,
    LifeEvent,
    ForecastEvent,
    ForecastScoredEvent,
    StateEvent,
)
