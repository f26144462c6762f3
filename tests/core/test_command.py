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
    BaselineTooOld,
    CommandInput,
    CommandState,
    EffectMeasured,
    Fork,
    InvalidTransitionError,
    Joined,
    LevelShifted,
    LogFollowed,
    MetricChanged,
    Refused,
    Reset,
    ReturnAsked,
    ScaleRamp,
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
    "a ramp in flight": CommandState(Status.IN_FLIGHT, wanted=0.1, wanted_ramp=50, count=1),
    "a ramp under way": CommandState(scale=0.1, ramp=ScaleRamp(1.0, 91, 50), applied_at=91, count=1),
}
_EVENTS: tuple[CommandInput, ...] = (
    Asked(0.25), ReturnAsked(1.0, 300.0), Applied(100, 0.5, 1.0), AlreadyInUse(), Refused(200.0), EffectMeasured(),
    TrialKept(), TrialFailed(), LogFollowed(), MetricChanged(), LevelShifted(), BaselineTooOld(), Reset(), Joined(100, 0.7),
)  # fmt: skip
EXAMPLES: dict[type[CommandInput], CommandInput] = {type(event): event for event in _EVENTS}


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
def test_every_pair_of_state_and_event_is_in_the_table_or_an_error(name: str, event: type[CommandInput]) -> None:
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
        ("on trial", Refused(0.0), Status.ON_TRIAL),
        ("the way back in flight", Applied(200, 1.0, 1.0), Status.QUIET),
        ("a part of the way back in flight", Applied(200, 0.2, 1.0), Status.TAKING_BACK),
        ("the way back in flight", Refused(200.0), Status.TAKING_BACK),
        ("the way back in flight", Reset(), Status.TAKING_BACK),
        ("the way back in flight", AlreadyInUse(), Status.QUIET),
        ("a part of the way back in flight", Refused(200.0), Status.TAKING_BACK),
        ("a failed trial", Refused(200.0), Status.TAKING_BACK),
        ("the way back in flight", Asked(0.7, by_operator=True), Status.IN_FLIGHT),
        ("a failed trial", Joined(300, 0.25), Status.IDLE),
    ],
)
def test_where_a_command_goes(name: str, event: CommandInput, status: Status) -> None:
    assert step(STATES[name], event).status is status


@pytest.mark.parametrize("event", [Refused(200.0), Reset()])
@pytest.mark.parametrize(
    "name", ["on trial", "a failed trial", "the way back in flight", "a part of the way back in flight"]
)
def test_a_trial_whose_way_back_does_not_come_is_still_to_be_taken_back(name: str, event: CommandInput) -> None:
    after = step(STATES[name], event)
    assert (after.wanted, after.trial) == (None, Trial(1.0))


def tried() -> CommandState:
    """A state after a trial of half the scale that was taken back."""
    applied = step(step(CommandState(), Asked(0.5, trial=Trial(1.0))), Applied(100, 0.5, 1.0))
    return step(step(applied, ReturnAsked(1.0, 0.0)), Applied(150, 1.0, 1.0))


def test_a_trainer_that_resumes_with_the_scale_of_a_trial_goes_back_as_well() -> None:
    resumed = step(tried(), Joined(120, 0.5))  # from a checkpoint that was saved meanwhile
    assert (resumed.status, resumed.scale, resumed.trial) == (Status.TAKING_BACK, 0.5, Trial(1.0))
    on_its_way = step(STATES["a trial in flight"], Joined(120, 0.5))  # its answer was never read
    assert (on_its_way.status, on_its_way.trial) == (Status.TAKING_BACK, Trial(1.0))
    again = step(step(resumed, ReturnAsked(1.0, 0.0)), Applied(160, 1.0, 1.0))
    assert step(again, Joined(120, 0.5)).status is Status.TAKING_BACK


@pytest.mark.parametrize("scale", [1.0, 0.4, 1.5])
def test_a_scale_that_is_not_of_the_trial_is_believed(scale: float) -> None:
    assert step(step(tried(), Joined(120, scale)), Joined(121, scale)).status is Status.IDLE


@pytest.mark.parametrize(
    "events",
    [
        [Asked(0.5), Applied(200, 0.5, 1.0)],  # proven
        [Asked(0.5, trial=Trial(1.0)), Applied(200, 0.5, 1.0), TrialKept()],
        [Asked(0.5, by_operator=True), Applied(200, 0.5, 1.0)],
    ],
)
def test_a_scale_that_was_proven_or_chosen_since_is_believed(events: list[CommandInput]) -> None:
    state = tried()
    for event in events:
        state = step(state, event)
    resumed = step(step(state, Joined(210, 1.0)), Joined(205, 0.5))
    assert (resumed.status, resumed.trial) == (Status.IDLE, None)


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
    for event in (LevelShifted(), BaselineTooOld(), Reset(), MetricChanged()):
        assert step(on_trial, event).effect_is_unknown


# ---- what an event leaves behind ------------------------------------------------------------------------------------------


def test_the_log_shows_the_ratio_to_the_scale_in_use_and_not_the_scale() -> None:
    asked = step(CommandState(scale=0.5), Asked(0.25))
    assert asked.explains(0.5)
    assert not asked.explains(0.25)
    applied = step(asked, Applied(100, 0.25, 1.0))
    assert applied.explains(0.5)
    assert not step(applied, LogFollowed()).explains(0.5)


def test_the_way_back_is_a_command_of_its_own() -> None:
    asked = step(STATES["a failed trial"], ReturnAsked(1.0, 300.0), look=LOOK)
    assert (asked.wanted, asked.wanted_ramp, asked.by_operator, asked.trial) == (1.0, 0, False, None)
    assert (asked.count, asked.quiet_until) == (STATES["a failed trial"].count + 1, 300.0)
    assert asked.explains(2.0)
    assert asked.restores


def test_the_way_back_from_a_trial_upwards_is_a_cut_and_measured_as_one() -> None:
    failed = CommandState(Status.TAKING_BACK, scale=2.0, trial=Trial(1.0), applied_at=100, count=1)
    back = step(step(failed, ReturnAsked(1.0, 300.0), look=LOOK), Applied(200, 1.0, 1.0))
    assert back.baseline is not None
    assert (back.baseline.step, back.baseline.scale) == (200, 1.0)


def test_a_way_back_in_two_commands_is_not_over_after_the_first() -> None:
    asked = step(STATES["a failed trial"], ReturnAsked(0.8, 300.0, trial=Trial(1.0)))
    after = step(asked, Applied(200, 0.8, 1.0))
    assert (after.status, after.trial) == (Status.TAKING_BACK, Trial(1.0))


def test_what_was_asked_is_on_trial_from_its_step_on_until_its_effect_is_measured() -> None:
    asked = step(CommandState(), Asked(0.5, trial=Trial(1.0, 0.1)), look=LOOK)
    on_trial = step(asked, Applied(100, 0.5, 1.0))
    assert (on_trial.status, on_trial.trial, on_trial.applied_at) == (Status.ON_TRIAL, Trial(1.0, 0.1), 100)
    assert on_trial.baseline is not None
    assert step(on_trial, EffectMeasured()).baseline is None
    assert step(on_trial, Joined(200, 0.7)).baseline is None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_baseline_knows_whether_the_metric_should_rise(sign: float) -> None:
    after = step(STATES["a command in flight"], Applied(100, 0.5, sign))
    assert after.baseline is not None
    assert after.baseline.improving is (sign > 0)  # the line of LOOK falls


def test_a_command_that_leaves_the_scale_as_it_is_has_no_effect_to_measure() -> None:
    asked = step(CommandState(scale=0.5), Asked(0.5), look=LOOK)
    assert step(asked, Applied(100, 0.5, 1.0)).baseline is None
    assert step(STATES["on trial"], AlreadyInUse()).scale == 0.5


def test_a_look_at_another_metric_is_no_baseline() -> None:
    changed = step(STATES["a trial in flight"], MetricChanged())
    assert step(changed, Applied(100, 0.5, 1.0)).effect_is_unknown


def test_strategies_wait_after_a_refusal_and_never_less_than_they_were_told() -> None:
    assert step(STATES["a command in flight"], Refused(200.0)).quiet_until == 200.0
    assert step(STATES["quiet"], EffectMeasured(400.0)).quiet_until == 500.0
    assert step(STATES["quiet"], EffectMeasured(600.0)).quiet_until == 600.0
    assert step(STATES["quiet"], EffectMeasured()).quiet_until == 500.0


def test_a_trainer_that_joins_is_believed_and_has_no_history() -> None:
    joined = step(STATES["a trial in flight"], Joined(300, 0.25))
    assert joined == CommandState(scale=0.25, applied_at=300, count=1)


@pytest.mark.parametrize("name", STATES)
def test_a_state_is_plain_json_and_comes_back_as_it_was(name: str) -> None:
    measured = step(STATES["a trial in flight"], Applied(100, 0.5, 1.0))
    assert measured.baseline is not None
    for state in (STATES[name], measured):
        assert CommandState.from_json(json.loads(json.dumps(state.as_json()))) == state


# ---- ramps --------------------------------------------------------------------------------------------------------------


def ramping(at: int = 101, steps: int = 50, scale: float = 0.5) -> CommandState:
    return step(step(CommandState(), Asked(scale, ramp_steps=steps)), Applied(at, scale, 1.0))


def test_a_ramp_moves_along_a_line_from_its_first_step_to_its_last() -> None:
    state = ramping()
    assert state.ramp == ScaleRamp(1.0, 101, 50)
    assert [state.scale_at(at) for at in (1, 100, 101, 125, 150, 151, 10**6)] == pytest.approx(
        [1.0, 1.0, 0.99, 0.75, 0.5, 0.5, 0.5]
    )
    assert [state.ramps_at(at) for at in (100, 101, 149, 150, 151)] == [True, True, True, False, False]
    assert state.scale_at(150) == state.scale == 0.5
    assert ramping(scale=0.1).scale_at(150) == 0.1, "to the last bit"


def test_a_ramp_of_one_step_is_at_once() -> None:
    state = ramping(steps=1)
    assert (state.scale_at(100), state.scale_at(101), state.ramps_at(101)) == (1.0, 0.5, False)


def test_a_ramp_that_replaces_another_begins_where_that_one_is() -> None:
    state = step(step(ramping(), Asked(0.5, ramp_steps=100)), Applied(126, 0.5, 1.0))
    assert state.ramp == ScaleRamp(pytest.approx(0.75), 126, 100)  # type: ignore[arg-type]
    assert state.scale_at(125) == pytest.approx(0.75)
    assert state.scale_at(126) == pytest.approx(0.7475)
    assert state.scale_at(225) == 0.5


def test_a_ramp_has_no_jump_in_the_log_and_no_baseline() -> None:
    asked = step(CommandState(), Asked(0.5, ramp_steps=50), look=LOOK)
    assert (asked.log_ratio, asked.wanted_ramp) == (None, 50)
    applied = step(asked, Applied(101, 0.5, 1.0))
    assert (applied.log_ratio, applied.baseline, applied.wanted_ramp) == (None, None, 0)
    assert not applied.explains(0.5)


def test_what_comes_at_once_ends_a_ramp() -> None:
    state = step(step(ramping(), Asked(0.4, by_operator=True)), Applied(110, 0.4, 1.0))
    assert (state.ramp, state.scale_at(110), state.ramps_at(110)) == (None, 0.4, False)
    assert step(ramping(), Joined(120, 0.8)).ramp is None


@pytest.mark.parametrize("event", [Refused(200.0), Reset(), AlreadyInUse()])
def test_a_ramp_that_does_not_come_leaves_nothing(event: CommandInput) -> None:
    after = step(STATES["a ramp in flight"], event)
    assert (after.wanted, after.wanted_ramp, after.ramp, after.scale_at(1000)) == (None, 0, None, 1.0)


@given(st.integers(1, 10**6), st.integers(1, 5000), st.floats(0.001, 2.0))
def test_a_ramp_stays_between_its_ends(at: int, steps: int, scale: float) -> None:
    state = ramping(at, steps, scale)
    seen = [state.scale_at(s) for s in (at - 1, at, at + steps // 2, at + steps - 1, at + steps)]
    assert seen == sorted(seen, reverse=scale < 1)
    assert (seen[0], seen[-1]) == (1.0, scale)


@pytest.mark.slow
@given(
    st.lists(st.sampled_from(sorted(EXAMPLES.values(), key=repr)), max_size=30),
    st.sampled_from([None, Trial(1.0)]),
    st.sampled_from([0, 20]),
)
@settings(max_examples=300, deadline=None)
def test_whatever_happens_in_whatever_order_the_state_is_sound_and_survives_a_restart(
    events: list[Any], trial: Trial | None, ramp: int
) -> None:
    state = CommandState()
    for event in events:
        if type(event) not in TRANSITIONS[state.status]:
            continue
        if isinstance(event, Asked):
            event = event._replace(trial=trial, ramp_steps=ramp)
        state = step(state, event)
        holds(state)
        assert json.loads(json.dumps(state.as_json())) == state.as_json()
        assert CommandState.from_json(state.as_json()) == state


def test_a_log_that_lags_behind_shows_the_command_before_the_newest_one_and_drops_nothing() -> None:
    applied = step(step(CommandState(), Asked(0.5)), Applied(122, 0.5, sign=1.0))
    asked = step(applied, Asked(0.2, by_operator=True))
    assert asked.explained_earlier(0.5)
    assert not asked.explained_earlier(0.4)
    assert asked.explains(0.4)
    shown = step(asked, LogFollowed())
    assert (shown.wanted, shown.earlier_ratio) == (0.2, None)
    assert shown.explains(0.4)
    again = step(asked, Asked(0.25, by_operator=True))  # before the trainer has answered
    assert again.explained_earlier(0.5)
    assert step(asked, Applied(182, 0.2, sign=1.0)).explained_earlier(0.5)
    for over in (Applied(182, 0.2, sign=1.0, in_log=True), Reset(), Joined(190, 1.0)):
        assert step(asked, over).earlier_ratio is None
