"""Rescue, a step at a time: cut, wait, back in stairs; again, and longer, where it was not cured."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from lrwatch.core.events import Finding
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies import plateau
from lrwatch.core.strategies.plateau import PolicyState
from lrwatch.core.strategies.rescue import SOON, STAIRS_A_WAIT, Rescue, answer, answers, due

AUTO = PolicyOptions(mode="auto", strategy="rescue")
HORIZON = 400.0
FRESH = PolicyState()


def found(kind: Any = "divergence", step: int = 4000, **evidence: Any) -> Finding:
    evidence = {"best": 2.0, "allowed": 0.5, **evidence}
    return Finding(kind, "loss", step, evidence, f"{kind} at step {step}")


def cut(state: Rescue | None = None, standing: PolicyState = FRESH, step: int = 4000) -> tuple[Rescue, float]:
    after, command = answer(state or Rescue(), standing, found(step=step), HORIZON, 1.0, AUTO)
    assert command is not None
    return after, command.scale


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
    assert answers(finding) is expected
    assert (answer(Rescue(), PolicyState(), finding, HORIZON, 1.0, AUTO)[1] is not None) is expected


def test_a_divergence_is_cut_and_after_a_horizon_the_scale_goes_back_in_stairs() -> None:
    state, scale = cut()
    assert scale == 0.5
    standing = PolicyState(scale=0.5, applied_at=4005, commands=1)
    assert due(state, standing, 4005 + 399, 2.5, AUTO) == (state, None)
    scales, steps, step = [], [], 4405
    while state.back_to is not None and step < 6000:
        state, command = due(state, standing, step, 2.5, AUTO)
        if command is not None:
            scales.append(command.scale)
            steps.append(step)
            assert command.cause == "rescue"
            standing = plateau.applied(standing, step, command.scale)
        step += 1
    assert scales == pytest.approx([math.sqrt(0.5), 1.0])
    assert [b - a for a, b in pairwise(steps)] == [HORIZON / STAIRS_A_WAIT]
    assert (state.back_at, state.climbing) == (steps[-1], False)


def test_only_values_that_are_not_finite_ask_for_a_checkpoint() -> None:
    for kind in ("divergence", "nonfinite"):
        _, command = answer(Rescue(), PolicyState(), found(kind), HORIZON, 1.0, AUTO)
        assert command is not None
        assert command.reload == (kind == "nonfinite")
        assert ("last checkpoint" in command.reason) == command.reload


@pytest.mark.parametrize(
    ("step", "wait"), [(5000, 2 * HORIZON), (5000 + SOON * 400 - 1, 2 * HORIZON), (5000 + SOON * 400, HORIZON)]
)
def test_a_run_that_leaves_its_course_again_soon_is_left_in_peace_for_twice_as_long(step: int, wait: float) -> None:
    came_back = Rescue(wait=HORIZON, back_at=5000)
    state, scale = cut(came_back, PolicyState(applied_at=5000), step)
    assert (state.wait, state.back_to, scale) == (wait, 1.0, 0.5)


def test_on_the_way_back_it_cuts_from_where_it_stands_and_still_knows_where_it_came_from() -> None:
    state, scale = cut(Rescue(back_to=1.0, wait=HORIZON, climbing=True), PolicyState(scale=0.7, applied_at=4500), 4600)
    assert (scale, state.back_to, state.wait, state.climbing) == (0.35, 1.0, 2 * HORIZON, False)


@pytest.mark.parametrize(
    "standing",
    [PolicyState(asked=0.5), PolicyState(commands=20), PolicyState(quiet_until=4001), PolicyState(scale=0.001)],
)
def test_the_guards_hold_for_a_rescue_too(standing: PolicyState) -> None:
    assert answer(Rescue(), standing, found(), HORIZON, 1.0, AUTO) == (Rescue(), None)


def test_a_cut_that_was_refused_leaves_nothing_to_go_back_from() -> None:
    state, _ = cut()
    state, command = due(state, replace(PolicyState(), applied_at=100), 5000, 2.0, AUTO)
    assert (state.back_to, command) == (None, None)


def test_as_long_as_the_run_is_not_calm_it_waits_and_cuts_once_more_where_a_wait_was_not_enough() -> None:
    state, _ = cut()
    standing = PolicyState(scale=0.5, applied_at=4005, commands=1)
    for step in range(4005, 4405):
        state, command = due(state, standing, step, 2.51, AUTO)
        assert command is None
    state, command = due(state, standing, 4405, 2.51, AUTO)
    assert command is not None
    assert (command.scale, command.reason) == (0.25, "400 steps at scale 0.5 did not bring the run back")
    standing = PolicyState(scale=0.25, applied_at=4406, commands=2)
    for step in range(4406, 4806):
        state, command = due(state, standing, step, 2.5 if step > 4500 else 2.51, AUTO)
        assert command is None
    assert due(state, standing, 4900, 2.5, AUTO)[1] is not None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_stays_no_number_is_neither_calm_nor_a_reason_for_further_cuts(value: float) -> None:
    state, command = answer(Rescue(), PolicyState(), found("nonfinite"), HORIZON, 1.0, AUTO)
    standing = PolicyState(scale=0.5, applied_at=4001, commands=1)
    for step in range(4001, 9000):
        state, command = due(state, standing, step, value, AUTO)
        assert command is None
    assert due(state, standing, 9000 + int(HORIZON), 1e9, AUTO)[1] is not None


def test_of_a_metric_that_should_rise_calm_is_above() -> None:
    state, _ = answer(Rescue(), PolicyState(), found(best=50.0, allowed=5.0), HORIZON, -1.0, AUTO)
    assert state.calm == -45.0
