"""A trial upwards: only with permission, one at a time, and taken back unless it is proven better."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.strategies import Moment

from lrwatch.core.command import Asked, BaselineTooOld, LevelShifted, Reset, Status, Trial, step
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Effect, Finding
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies.plateau import Plateau
from lrwatch.core.strategies.trial_increase import FACTOR, PATIENCE, is_on

PERMITTED = PolicyOptions(mode="auto", max_scale=4.0)
SLOW = Finding("too_slow", "loss", 4000, {}, "a straight line")
FRESH = Moment(Plateau(), PERMITTED)
RAISED: dict[str, Any] = {"status": Status.ON_TRIAL, "scale": 1.5, "applied_at": 4000}


def trend(step: int) -> Trend:
    """A look at a curve that improves by 5 % of its level per 500 steps."""
    return Trend(
        step=step, state="improving", horizon=500.0, level=2.0, improvement=0.1, lower=0.09, improvement_now=0.1, upper=0.11,
        upper_now=0.11, end=2.0, end_error=0.001, per_step=-2e-4, per_step_error=1e-7, samples=step,
    )  # fmt: skip


def effect(lower: float, upper: float) -> Effect:
    return Effect(step=4500, scale=1.5, gain=(lower + upper) / 2, lower=lower, upper=upper, message="")


def test_with_permission_the_rate_goes_up_once() -> None:
    trying, command = replace(FRESH, context={"last_look": trend(3990)}).found(SLOW)
    assert command is not None
    assert (command.scale, command.cause, trying.command.trial) == (FACTOR, "too_slow", Trial(1.0, 0.05))
    raised = trying.applied(4001, FACTOR)
    assert raised.command.status is Status.ON_TRIAL
    assert raised.found(SLOW) == (raised, None)


@pytest.mark.parametrize(
    "moment",
    [
        replace(FRESH, options=PolicyOptions(mode="auto")),
        FRESH.but(scale=4.0),
        FRESH.but(status=Status.IN_FLIGHT, wanted=0.5),
        FRESH.but(count=40),
        replace(FRESH, options=replace(PERMITTED, mode="observe")),
    ],
)
def test_without_permission_or_behind_a_limit_nothing_is_raised(moment: Moment) -> None:
    assert moment.found(SLOW) == (moment, None)


def test_only_the_watched_metric_raises_the_rate() -> None:
    assert FRESH.found(SLOW, watched=False) == (FRESH, None)


@pytest.mark.parametrize(
    ("worth", "lower", "status"),
    [
        (0.0, 0.001, Status.IDLE),
        (0.0, 0.0, Status.TAKING_BACK),
        (0.05, 0.006, Status.IDLE),
        (0.05, 0.004, Status.TAKING_BACK),
    ],
)
def test_what_is_proven_better_is_kept(worth: float, lower: float, status: Status) -> None:
    after = FRESH.but(**RAISED, trial=Trial(1.0, worth)).measured(effect(lower, 0.1))
    assert after.command.status is status


@pytest.mark.parametrize("measured", [effect(-0.01, 0.1), effect(-0.2, -0.1)])
def test_what_is_not_proven_better_is_taken_back_and_not_repeated_before_the_run_is_older(measured: Effect) -> None:
    failed = FRESH.but(**RAISED, trial=Trial(1.0, 0.0)).measured(measured)
    after, command = failed.look(trend(4500))
    assert command is not None
    assert (command.scale, command.cause) == (1.0, "restore")
    assert after.strategy == Plateau(no_increase_before=PATIENCE * 4500)
    back = after.applied(4501, 1.0)
    assert back.command.status is Status.QUIET
    assert back.found(replace(SLOW, step=6749))[1] is None
    assert back.found(replace(SLOW, step=6750))[1] is not None


@pytest.mark.parametrize("event", [LevelShifted(), BaselineTooOld(), Reset()])
def test_a_trial_whose_baseline_is_lost_is_taken_back(event: Any) -> None:
    lost = FRESH.but(**RAISED, trial=Trial(1.0, 0.0)).step(event)
    _, command = lost.look(trend(4100))
    assert command is not None
    assert (command.scale, command.cause) == (1.0, "restore")


def test_where_somebody_went_below_it_meanwhile_there_is_nothing_to_take_back() -> None:
    failed = FRESH.but(status=Status.TAKING_BACK, scale=1.0, trial=Trial(1.0, 0.0))
    after, command = failed.look(trend(4500))
    assert (after.command.trial, command) == (None, None)


def test_a_limit_keeps_the_way_back_for_later() -> None:
    failed = FRESH.but(**{**RAISED, "status": Status.TAKING_BACK}, trial=Trial(1.0, 0.0), quiet_until=5000)
    assert failed.look(trend(4500)) == (failed, None)
    assert failed.look(trend(5000))[1] is not None


def test_without_a_look_continuing_is_worth_nothing_and_the_command_says_what_it_is_for() -> None:
    trying, command = FRESH.found(SLOW)
    assert command is not None
    assert trying.command.trial == Trial(1.0, 0.0)
    assert (command.step, command.reason) == (
        4000,
        "a straight line; scale 1.5 is tried, and stays only if it is proven better",
    )


@pytest.mark.parametrize(("max_scale", "scale", "raised"), [(1.0, 0.5, None), (1.5, 1.0, 1.5), (1.2, 1.0, 1.2)])
def test_permission_is_a_largest_scale_above_one(max_scale: float, scale: float, raised: float | None) -> None:
    permitted = replace(FRESH, options=replace(PERMITTED, max_scale=max_scale)).but(scale=scale)
    _, command = permitted.found(SLOW)
    assert (None if command is None else command.scale) == raised


def test_a_suggestion_that_nobody_answered_is_not_repeated() -> None:
    suggests = replace(FRESH, options=replace(PERMITTED, mode="suggest"))
    assert suggests.but(status=Status.IN_FLIGHT, wanted=FACTOR).found(SLOW)[1] is None
    assert suggests.but(status=Status.IN_FLIGHT, wanted=0.5).found(SLOW)[1] is not None
    failed = suggests.but(**{**RAISED, "status": Status.TAKING_BACK}, trial=Trial(1.0, 0.0))
    after, command = failed.look(trend(4500))
    assert command is not None
    assert after.look(trend(4600))[1] is None


def test_a_cut_on_its_way_is_no_trial_upwards() -> None:
    assert not is_on(FRESH.but(status=Status.IN_FLIGHT, wanted=0.5, trial=Trial(1.0)).at())
    assert is_on(FRESH.but(status=Status.IN_FLIGHT, wanted=FACTOR, trial=Trial(1.0)).at())


def test_a_trial_that_is_not_measured_yet_goes_on() -> None:
    command = step(FRESH.command, Asked(FACTOR, trial=Trial(1.0, 0.05)), look=trend(3990))
    on = replace(FRESH, command=command).applied(4000, FACTOR)
    assert on.command.baseline is not None
    assert on.look(trend(4100)) == (on, None)


def test_the_way_back_says_when_the_next_trial_may_come() -> None:
    failed = FRESH.but(**{**RAISED, "status": Status.TAKING_BACK}, trial=Trial(1.0, 0.0))
    _, command = failed.look(trend(4500))
    assert command is not None
    assert (command.step, command.reason) == (
        4500,
        "scale 1.5 is taken back: it is not proven better; it is not tried again before step 6,750",
    )
