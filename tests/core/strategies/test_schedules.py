"""Schedules: the staircase, and that it stays close to its curve."""

from __future__ import annotations

import math

import pytest
from support.strategies import Moment

from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies import STRATEGIES
from lrwatch.core.strategies.base import Context
from lrwatch.core.strategies.schedules import STAIRS, Cosine, Schedule, Step, Wsd

BUDGET = PolicyOptions().max_commands


def stairs(options: PolicyOptions, steps: int) -> list[float]:
    schedule = STRATEGIES[options.strategy]()
    assert isinstance(schedule, Schedule)
    return [schedule.wanted(step, options) for step in range(steps)]


def test_step_reduces_by_the_factor_every_so_many_steps() -> None:
    options = PolicyOptions(strategy="step", factor=0.1, every=100, min_scale=0.005)
    found = stairs(options, 500)
    assert [found[i] for i in (0, 99, 100, 199, 200, 299, 300, 499)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01, 0.005, 0.005]
    )


def test_exponential_goes_the_same_way_in_smaller_stairs() -> None:
    options = PolicyOptions(strategy="exponential", factor=0.25, every=100)
    found = stairs(options, 201)
    assert [found[i] for i in (0, 49, 50, 99, 100, 150, 200)] == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.125, 0.0625])


@pytest.mark.parametrize(
    ("strategy", "curve"),
    [
        ("cosine", lambda done: (1 + math.cos(math.pi * min(done, 1.0))) / 2),
        ("wsd", lambda done: min(max((1 - done) / 0.2, 0.0), 1.0)),
    ],
)
def test_a_decay_stays_close_to_its_curve_within_the_budget_of_commands(strategy: str, curve: object) -> None:
    options = PolicyOptions(strategy=strategy, length=1000)  # type: ignore[arg-type]  # both are strategies
    found = stairs(options, 1200)
    assert found == sorted(found, reverse=True)
    assert len(set(found)) <= STAIRS + 1 < BUDGET
    assert callable(curve)
    assert all(abs(scale - max(curve(i / 1000), 0.001)) <= 0.0601 for i, scale in enumerate(found))
    assert (found[0], found[-1]) == (1.0, options.min_scale)


def test_wsd_of_a_run_without_a_known_end_waits_for_the_operator_and_then_decays_over_its_share() -> None:
    options = PolicyOptions(strategy="wsd", decay_share=0.2)
    assert Wsd().wanted(10**9, options) == 1.0
    plan = Wsd(decay_at=8000)
    assert plan.wanted(8000, options) == 1.0
    assert plan.wanted(9000, options) == pytest.approx(0.5, abs=0.04)
    assert plan.wanted(9999, options) > plan.wanted(10_000, options) == options.min_scale


def test_a_decay_that_is_begun_by_hand_takes_as_long_as_the_one_that_was_planned() -> None:
    options = PolicyOptions(strategy="wsd", length=10_000, decay_share=0.1)
    plan = Wsd(decay_at=3000)
    assert plan.wanted(3999, options) > plan.wanted(4000, options) == options.min_scale


@pytest.mark.parametrize("schedule", [s for s in STRATEGIES.values() if issubclass(s, Schedule)])
def test_a_schedule_begins_at_its_step_with_its_scale_and_stays_within_the_bounds(schedule: type[Schedule]) -> None:
    options = PolicyOptions(strategy=schedule.NAME, every=10, length=100, min_scale=0.2, max_scale=2.0)  # type: ignore[arg-type]
    plan = schedule(began_at=5000, base=1.5)
    found = [plan.wanted(step, options) for step in range(4900, 5400)]
    assert set(found[:101]) == {1.5}
    assert min(found) == 0.2
    assert schedule(base=5.0).wanted(0, options) == 2.0


def test_what_has_no_decay_says_so() -> None:
    with pytest.raises(ValueError, match="strategy must be wsd to decay, got 'cosine'"):
        Cosine().decay(0, Context())


def test_a_stair_is_a_command_of_the_schedule_with_its_reason() -> None:
    moment = Moment(Cosine(), PolicyOptions(mode="auto", strategy="cosine", length=1600))
    assert Cosine().acts_between_looks(moment.at())
    assert moment.tick(99, 1.0) == (moment, None)
    after, command = moment.tick(100, 1.0)  # the first of 16 stairs is over
    assert command is not None
    assert (command.step, command.cause) == (100, "schedule")
    assert command.reason == f"cosine: scale {command.scale:.4g} from step 100 on"
    assert (after.command.wanted, after.strategy) == (command.scale, moment.strategy)


def test_a_schedule_of_single_steps_begins_with_its_scale() -> None:
    options = PolicyOptions(strategy="step", factor=0.5, every=1)
    assert [Step(began_at=5000, base=0.8).wanted(5000 + age, options) for age in (-1, 0, 1)] == [0.8, 0.8, 0.4]


def test_a_decay_is_a_share_of_the_steps_since_wsd_began() -> None:
    options = PolicyOptions(strategy="wsd", decay_share=0.2)
    plan = Wsd(began_at=1000, decay_at=3000)  # 2000 steps held, so 500 are a fifth of the whole
    assert plan.wanted(3000, options) == 1.0
    assert plan.wanted(3499, options) > plan.wanted(3500, options) == options.min_scale
    at_once = Wsd(began_at=1000, decay_at=1000)
    assert [at_once.wanted(step, options) for step in (1000, 1001)] == [1.0, options.min_scale]
