"""The life of a command: every pair of status and event, and what holds in each status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwatch.core.command import (
    EVENTS,
    TRANSITIONS,
    AlreadyInUse,
    Applied,
    Asked,
    CommandState,
    EffectMeasured,
    Event,
    Fork,
    InvalidTransitionError,
    Joined,
    LevelShifted,
    LogFollowed,
    MetricChanged,
    Refused,
    Reset,
    ReturnAsked,
    Status,
    Trial,
    TrialFailed,
    TrialKept,
    step,
)
from lrwatch.core.detectors.plateau import Trend

LOOK = Trend(
    step=90, state="plateau", horizon=10.0, level=2.0, improvement=0.0, lower=-1.0, improvement_now=0.0, upper=1.0,
    upper_now=1.0, end=2.0, end_error=0.1, per_step=-1e-3, per_step_error=1e-4, samples=90,
)  # fmt: skip
# One state for each status, with what distinguishes it; several where a row forks.
STATES: dict[str, CommandState] = {
    "idle": CommandState(),
    "a command in flight": CommandState(Status.IN_FLIGHT, wanted=0.5, look=LOOK, log_ratio=0.5, count=1),
    "a trial in flight": CommandState(
        Status.IN_FLIGHT, wanted=0.5, look=LOOK, trial=Trial(1.0), log_ratio=0.5, count=1
    ),
    "on trial": CommandState(Status.ON_TRIAL, scale=0.5, trial=Trial(1.0), applied_at=100, count=1),
    "a failed trial": CommandState(Status.TAKING_BACK, scale=0.5, trial=Trial(1.0), applied_at=100, count=1),
    "the way back in flight": CommandState(Status.TAKING_BACK, scale=0.5, wanted=1.0, applied_at=100, count=2),
    "a part of the way back in flight": CommandState(
        Status.TAKING_BACK, scale=0.1, wanted=0.2, trial=Trial(1.0), count=2
    ),
    "quiet": CommandState(Status.QUIET, quiet_until=500.0),
}
_EVENTS: tuple[Event, ...] = (
    Asked(0.25), ReturnAsked(1.0, 300.0), Applied(100, 0.5, 1.0), AlreadyInUse(), Refused(200.0), EffectMeasured(),
    TrialKept(), TrialFailed(), LogFollowed(), MetricChanged(), LevelShifted(), Reset(), Joined(100, 0.7),
)  # fmt: skip
EXAMPLES: dict[type[Event], Event] = {type(event): event for event in _EVENTS}


def holds(state: CommandState) -> None:
    """What is true of every state."""
    if state.status in (Status.IDLE, Status.QUIET):
        assert state.wanted is None
        assert state.trial is None
    if state.status is Status.IN_FLIGHT:
        assert state.wanted is not None
    if state.status is Status.ON_TRIAL:
        assert state.wanted is None
        assert state.trial is not None
    if state.status is Status.TAKING_BACK:
        assert state.wanted is not None or state.trial is not None
    if state.wanted is None:
        assert state.look is None
        assert not state.by_operator
    assert state.scale > 0


def test_the_table_knows_every_status_and_every_example_is_an_event_of_it() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert set(EXAMPLES) == set(EVENTS)
    assert {event for row in TRANSITIONS.values() for event in row} == set(EVENTS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("name", STATES)
def test_every_pair_of_state_and_event_is_in_the_table_or_an_error(name: str, event: type[Event]) -> None:
    state = STATES[name]
    expected = TRANSITIONS[state.status].get(event)
    if expected is None:
        with pytest.raises(InvalidTransitionError, match=f"{state.status.value} cannot take {event.__name__}"):
            step(state, EXAMPLES[event])
        return
    after = step(state, EXAMPLES[event])
    assert after.status in (expected if isinstance(expected, Fork) else (expected,))
    holds(after)


@pytest.mark.parametrize(
    ("name", "event", "status"),
    [
        ("a command in flight", Applied(100, 0.5, 1.0), Status.IDLE),
        ("a trial in flight", Applied(100, 0.5, 1.0), Status.ON_TRIAL),
        ("a command in flight", Reset(), Status.IDLE),
        ("a trial in flight", Reset(), Status.ON_TRIAL),
        ("a trial in flight", Refused(200.0), Status.QUIET),
        ("on trial", TrialKept(), Status.IDLE),
        ("on trial", TrialFailed(), Status.TAKING_BACK),
        ("on trial", Refused(0.0), Status.QUIET),
        ("the way back in flight", Applied(200, 1.0, 1.0), Status.QUIET),
        ("a part of the way back in flight", Applied(200, 0.2, 1.0), Status.TAKING_BACK),
        ("the way back in flight", Refused(200.0), Status.QUIET),
        ("a part of the way back in flight", Refused(200.0), Status.TAKING_BACK),
        ("a failed trial", Refused(200.0), Status.TAKING_BACK),
        ("the way back in flight", Asked(0.7, by_operator=True), Status.IN_FLIGHT),
        ("a failed trial", Joined(300, 0.25), Status.IDLE),
    ],
)
def test_where_a_command_goes(name: str, event: Event, status: Status) -> None:
    assert step(STATES[name], event).status is status


def test_what_an_operator_asks_ends_a_trial_and_costs_nothing_of_the_budget() -> None:
    after = step(STATES["on trial"], Asked(0.7, by_operator=True))
    assert (after.wanted, after.trial, after.by_operator, after.count) == (0.7, None, True, 1)
    assert step(STATES["on trial"], Asked(0.7)).count == 2


@pytest.mark.parametrize(
    ("name", "scale", "measured"),
    [("a command in flight", 0.5, True), ("a trial in flight", 0.5, True), ("a command in flight", 1.5, False)],
)
def test_an_applied_cut_has_a_baseline_before_the_step_of_application(name: str, scale: float, measured: bool) -> None:
    after = step(STATES[name], Applied(100, scale, 1.0))
    assert (after.baseline is not None) is measured
    if after.baseline is not None:
        assert (after.baseline.step, after.baseline.at, after.baseline.scale) == (100, LOOK.step, scale)


def test_a_trial_upwards_is_measured_too() -> None:
    up = CommandState(Status.IN_FLIGHT, wanted=1.5, look=LOOK, trial=Trial(1.0, 0.1))
    assert step(up, Applied(100, 1.5, 1.0)).baseline is not None


def test_the_log_may_show_an_acknowledged_command_and_has_shown_one_that_it_told_of() -> None:
    asked = STATES["a command in flight"]
    assert step(asked, Applied(100, 0.5, 1.0)).explains(0.505)
    assert not step(asked, Applied(100, 0.5, 1.0)).explains(0.25)
    assert step(asked, Applied(100, 0.5, 1.0, in_log=True)).log_ratio is None


def test_a_baseline_that_is_lost_leaves_a_trial_of_unknown_effect() -> None:
    on_trial = step(STATES["a trial in flight"], Applied(100, 0.5, 1.0))
    assert not on_trial.effect_is_unknown
    for event in (LevelShifted(), Reset(), MetricChanged()):
        assert step(on_trial, event).effect_is_unknown


@pytest.mark.slow
@given(st.lists(st.sampled_from(sorted(EXAMPLES.values(), key=repr)), max_size=30), st.sampled_from([None, Trial(1.0)]))
@settings(max_examples=300, deadline=None)
def test_whatever_happens_in_whatever_order_the_state_is_sound_and_survives_a_restart(
    events: list[Any], trial: Trial | None
) -> None:
    state = CommandState()
    for event in events:
        if type(event) not in TRANSITIONS[state.status]:
            continue
        state = step(state, event._replace(trial=trial) if isinstance(event, Asked) else event)
        holds(state)
        assert json.loads(json.dumps(state.as_json())) == state.as_json()
        assert CommandState.from_json(state.as_json()) == state
