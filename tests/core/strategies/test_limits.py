"""The limits, each alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lrwatch.core.command import CommandState
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies.limits import CommandLimits, equal

AUTO = PolicyOptions(mode="auto")
FRESH = CommandState()


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        (FRESH, AUTO, False),
        (FRESH, replace(AUTO, mode="observe"), True),
        (replace(FRESH, wanted=0.5), AUTO, True),
        (replace(FRESH, wanted=0.6), AUTO, True),
        (replace(FRESH, wanted=0.5), replace(AUTO, mode="suggest"), True),
        (replace(FRESH, wanted=0.6), replace(AUTO, mode="suggest"), False),
        (replace(FRESH, wanted=0.6), replace(AUTO, mode="approve"), False),
        (replace(FRESH, count=40), AUTO, True),
        (replace(FRESH, count=19), AUTO, False),
        (FRESH, replace(AUTO, warmup_steps=101), True),
        (FRESH, replace(AUTO, warmup_steps=100), False),
        (replace(FRESH, quiet_until=100.5), AUTO, True),
    ],
)
def test_what_is_on_its_way_spent_or_too_early_is_refused(
    command: CommandState, options: PolicyOptions, expected: bool
) -> None:
    assert CommandLimits(command, options).refuses(0.5, 100) is expected


def test_a_proposal_that_nobody_answered_is_only_an_obstacle_to_a_strategy_that_asks_one_thing_at_a_time() -> None:
    suggest = replace(AUTO, mode="suggest")
    assert CommandLimits(replace(FRESH, wanted=0.6), suggest).forbids
    assert not CommandLimits(replace(FRESH, wanted=0.6), suggest).refuses(0.5, 100)


@pytest.mark.parametrize(
    ("scale", "wanted", "options", "expected"),
    [
        (1.0, 0.5, AUTO, 0.5),
        (1.0, 0.01, AUTO, 0.1),
        (0.1, 1.0, AUTO, 0.2),
        (0.8, 1.6, AUTO, 1.0),
        (0.005, 0.0001, AUTO, 0.001),
        (1.0, 0.5, replace(AUTO, max_factor_down=0.7), 0.7),
        (1.0, 8.0, replace(AUTO, max_scale=10.0, max_factor_up=3.0), 3.0),
        (5.0, 4.0, AUTO, 1.0),  # a trainer that stands outside is led back in, whatever its distance
    ],
)
def test_one_command_goes_no_further_than_the_bounds_of_the_run_and_its_own(
    scale: float, wanted: float, options: PolicyOptions, expected: float
) -> None:
    assert CommandLimits(replace(FRESH, scale=scale), options).bounded(wanted) == pytest.approx(expected)


def test_what_lies_on_a_bound_but_for_rounding_is_asked_for_as_it_is() -> None:
    assert CommandLimits(replace(FRESH, scale=0.1), AUTO).bounded(0.01) == 0.01, "0.1 * 0.1 is a little more"
    assert equal(0.1 * 0.1, 0.01)
    assert not equal(1.0, 1.0 + 1e-10)
