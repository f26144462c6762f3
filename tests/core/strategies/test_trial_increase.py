"""A trial upward: only with leave, once at a time, and taken back unless it is surely better."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lrwatch.core.events import Effect, Finding
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies.plateau import PolicyState
from lrwatch.core.strategies.trial_increase import FACTOR, PATIENCE, Trial, answer, due, learned

LEAVE = PolicyOptions(mode="auto", max_scale=4.0)
SLOW = Finding("too_slow", "loss", 4000, {}, "a straight line")
FRESH = PolicyState()


def effect(lower: float, upper: float) -> Effect:
    return Effect(step=4500, scale=1.5, gain=(lower + upper) / 2, lower=lower, upper=upper, message="")


def test_with_leave_the_rate_goes_up_once() -> None:
    trial, command = answer(Trial(), FRESH, SLOW, 0.05, LEAVE)
    assert command is not None
    assert (command.scale, command.cause, trial.previous) == (FACTOR, "too_slow", 1.0)
    assert answer(trial, replace(FRESH, scale=FACTOR), SLOW, 0.05, LEAVE) == (trial, None)


@pytest.mark.parametrize(
    ("options", "state"),
    [
        (PolicyOptions(mode="auto"), FRESH),
        (LEAVE, replace(FRESH, scale=4.0)),
        (LEAVE, replace(FRESH, asked=0.5)),
        (LEAVE, replace(FRESH, commands=20)),
        (replace(LEAVE, mode="observe"), FRESH),
    ],
)
def test_without_leave_or_behind_a_guard_nothing_is_raised(options: PolicyOptions, state: PolicyState) -> None:
    assert answer(Trial(), state, SLOW, 0.05, options) == (Trial(), None)


def test_what_is_surely_better_is_kept() -> None:
    assert learned(Trial(previous=1.0), effect(0.001, 0.1)) == Trial()
    assert learned(Trial(previous=1.0, going=0.05), effect(0.006, 0.1)) == Trial()
    assert learned(Trial(previous=1.0, going=0.05), effect(0.004, 0.1)).take_back


@pytest.mark.parametrize("measured", [effect(-0.01, 0.1), effect(-0.2, -0.1)])
def test_what_is_not_surely_better_is_taken_back_and_not_tried_again_before_the_run_is_older(measured: Effect) -> None:
    trial = learned(Trial(previous=1.0), measured)
    raised = replace(FRESH, scale=1.5, applied_at=4000)
    trial, command = due(trial, raised, 4500, LEAVE)
    assert command is not None
    assert (command.scale, command.cause) == (1.0, "restore")
    assert trial == Trial(quiet_until=PATIENCE * 4500)
    assert answer(trial, FRESH, replace(SLOW, step=6749), 0.05, LEAVE)[1] is None
    assert answer(trial, FRESH, replace(SLOW, step=6750), 0.05, LEAVE)[1] is not None


def test_where_somebody_went_below_it_meanwhile_there_is_nothing_to_take_back() -> None:
    trial, command = due(Trial(previous=1.0, take_back=True), replace(FRESH, scale=0.5), 4500, LEAVE)
    assert (trial.previous, command) == (None, None)


def test_a_guard_keeps_the_way_back_for_later() -> None:
    waiting = Trial(previous=1.0, take_back=True)
    assert due(waiting, replace(FRESH, scale=1.5, quiet_until=5000), 4500, LEAVE) == (waiting, None)
    assert due(waiting, replace(FRESH, scale=1.5, quiet_until=5000), 5000, LEAVE)[1] is not None
