"""Rescue, a step at a time: cut, wait, back in stairs; again, and longer, where it was not cured."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from support.strategies import Moment

from lrwatch.core.command import CommandState, Status
from lrwatch.core.events import Command, Finding
from lrwatch.core.options import Horizon, PolicyOptions
from lrwatch.core.strategies.rescue import SOON, STAIRS_A_WAIT, Rescue, leaves_course

HORIZON = 400.0
FRESH = Moment(Rescue(), PolicyOptions(mode="auto", strategy="rescue"), context={"horizon": Horizon.parse(HORIZON)})


def found(kind: Any = "divergence", step: int = 4000, **evidence: Any) -> Finding:
    evidence = {"best": 2.0, "allowed": 0.5, **evidence}
    return Finding(kind, "loss", step, evidence, f"{kind} at step {step}")


def remembers(moment: Moment) -> Rescue:
    assert isinstance(moment.strategy, Rescue)
    return moment.strategy


def cut(moment: Moment = FRESH, finding: Finding | None = None) -> tuple[Moment, Command]:
    after, command = moment.found(finding or found())
    assert command is not None
    return after, command


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (found("divergence"), True),
        (found("nonfinite"), True),
        (found("spike", recurring=True), True),
        (found("spike", recurring=False), False),
        (found("plateau"), False),
        (found("oscillation"), False),
    ],
)
def test_it_answers_what_leaves_the_course_and_nothing_else(finding: Finding, expected: bool) -> None:
    assert leaves_course(finding) is expected
    assert (FRESH.found(finding)[1] is not None) is expected


def test_of_another_metric_only_a_value_that_is_not_finite_counts() -> None:
    assert FRESH.found(found("divergence"), watched=False) == (FRESH, None)
    assert FRESH.found(found("nonfinite"), watched=False)[1] is not None


def test_a_divergence_is_cut_and_after_a_horizon_the_scale_goes_back_in_stairs() -> None:
    moment, command = cut()
    assert command.scale == 0.5
    moment = moment.applied(4005, 0.5)
    assert moment.tick(4005 + 399, 2.5) == (moment, None)
    scales, steps, step = [], [], 4405
    while remembers(moment).back_to is not None and step < 6000:
        moment, stair = moment.tick(step, 2.5)
        if stair is not None:
            scales.append(stair.scale)
            steps.append(step)
            assert stair.cause == "rescue"
            moment = moment.applied(step, stair.scale)
        step += 1
    assert scales == pytest.approx([math.sqrt(0.5), 1.0])
    assert [b - a for a, b in pairwise(steps)] == [HORIZON / STAIRS_A_WAIT]
    assert (remembers(moment).back_at, remembers(moment).climbing) == (steps[-1], False)


def test_only_values_that_are_not_finite_ask_for_a_checkpoint() -> None:
    for kind in ("divergence", "nonfinite"):
        _, command = cut(finding=found(kind))
        assert command.reload == (kind == "nonfinite")
        assert ("last checkpoint" in command.reason) == command.reload


@pytest.mark.parametrize(
    ("step", "wait"), [(5000, 2 * HORIZON), (5000 + SOON * 400 - 1, 2 * HORIZON), (5000 + SOON * 400, HORIZON)]
)
def test_a_run_that_leaves_its_course_again_soon_is_left_in_peace_for_twice_as_long(step: int, wait: float) -> None:
    came_back = replace(FRESH, strategy=Rescue(wait=HORIZON, back_at=5000)).but(applied_at=5000)
    moment, command = cut(came_back, found(step=step))
    assert (remembers(moment).wait, remembers(moment).back_to, command.scale) == (wait, 1.0, 0.5)


def test_on_the_way_back_it_cuts_from_where_it_stands_and_still_knows_where_it_came_from() -> None:
    climbing = replace(FRESH, strategy=Rescue(back_to=1.0, wait=HORIZON, climbing=True)).but(scale=0.7, applied_at=4500)
    moment, command = cut(climbing, found(step=4600))
    state = remembers(moment)
    assert (command.scale, state.back_to, state.wait, state.climbing) == (0.35, 1.0, 2 * HORIZON, False)


@pytest.mark.parametrize(
    "command",
    [
        CommandState(Status.IN_FLIGHT, wanted=0.5),
        CommandState(count=40),
        CommandState(quiet_until=4001),
        CommandState(scale=0.001),
    ],
)
def test_the_limits_hold_for_a_rescue_too(command: CommandState) -> None:
    limited = replace(FRESH, command=command)
    assert limited.found(found()) == (limited, None)


def test_a_cut_that_was_refused_leaves_nothing_to_go_back_from() -> None:
    moment, _ = cut()
    moment, command = moment.refused(0.0).but(applied_at=100).tick(5000, 2.0)
    assert (remembers(moment).back_to, command) == (None, None)


def test_as_long_as_the_run_is_not_calm_it_waits_and_cuts_once_more_where_a_wait_was_not_enough() -> None:
    moment, _ = cut()
    moment = moment.applied(4005, 0.5)
    for step in range(4005, 4405):
        moment, command = moment.tick(step, 2.51)
        assert command is None
    moment, command = moment.tick(4405, 2.51)
    assert command is not None
    assert (command.scale, command.reason) == (0.25, "400 steps at scale 0.5 did not bring the run back")
    moment = moment.applied(4406, 0.25)
    for step in range(4406, 4806):
        moment, command = moment.tick(step, 2.5 if step > 4500 else 2.51)
        assert command is None
    assert moment.tick(4900, 2.5)[1] is not None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_stays_no_number_is_neither_calm_nor_a_reason_for_further_cuts(value: float) -> None:
    moment, _ = cut(finding=found("nonfinite"))
    moment = moment.applied(4001, 0.5)
    for step in range(4001, 9000):
        moment, command = moment.tick(step, value)
        assert command is None
    assert moment.tick(9000 + int(HORIZON), 1e9)[1] is not None


def test_of_a_metric_that_should_rise_calm_is_above() -> None:
    rising = replace(FRESH, context={**FRESH.context, "sign": -1.0})
    moment, _ = cut(rising, found(best=50.0, allowed=5.0))
    assert remembers(moment).calm == -45.0


def test_it_may_command_at_the_next_value_while_it_is_on_its_way_back() -> None:
    assert [Rescue().may_command_next(), Rescue(back_to=1.0).may_command_next()] == [False, True]


def test_a_cut_is_a_command_with_its_reason_and_remembers_its_step() -> None:
    moment, command = cut(finding=found("nonfinite"))
    assert command.reason == (
        "nonfinite at step 4000; scale 0.5 for 400 steps, then back to 1; the trainer loads its last checkpoint, if it can"
    )
    assert (moment.command.status, moment.command.wanted) == (Status.IN_FLIGHT, 0.5)
    assert remembers(moment).bad_at == 4000


def test_a_divergence_from_a_level_of_nothing_is_calm_at_nothing() -> None:
    moment, _ = cut(finding=found(best=None, allowed=None))
    assert remembers(moment).calm == 0.0


def test_a_suggestion_that_nobody_answered_is_not_repeated() -> None:
    suggests = replace(FRESH, options=PolicyOptions(mode="suggest", strategy="rescue"))
    assert suggests.but(status=Status.IN_FLIGHT, wanted=0.5).found(found())[1] is None
    assert suggests.but(status=Status.IN_FLIGHT, wanted=0.6).found(found())[1] is not None


CALM = FRESH.learned(back_to=1.0, wait=HORIZON, bad_at=4000, calm=2.5).but(scale=0.5, applied_at=4005)


@pytest.mark.parametrize(
    "moment", [CALM.but(wanted=0.25, status=Status.IN_FLIGHT), CALM.but(quiet_until=4406.0), CALM.but(applied_at=None)]
)
def test_while_a_command_is_in_flight_refused_or_not_applied_there_is_no_stair(moment: Moment) -> None:
    assert moment.tick(4405, 2.0) == (moment, None)


def test_a_stair_is_a_command_with_its_reason() -> None:
    moment, command = CALM.tick(4405, 2.0)
    assert command is not None
    assert command.reason == "the run was calm for 400 steps; this is on the way back to scale 1"
    assert (moment.command.status, moment.command.wanted) == (Status.IN_FLIGHT, command.scale)
