"""The policy, one step at a time from a state made by hand; each guard alone keeps a command back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Effect
from lrwatch.core.options import PolicyOptions
from lrwatch.core.policies.reduce import (
    KEEP_SHARE,
    MAX_WITHOUT_GAIN,
    PATIENCE_AFTER_RESTORE,
    PATIENCE_AFTER_TRIAL,
    PATIENCE_SHARE,
    PolicyState,
    applied,
    decide,
    going_on_must_bring,
    learned,
    rejected,
)

AUTO = PolicyOptions(mode="auto")
FRESH = PolicyState()


def trend(step: int = 5000, upper: float = 0.004, level: float = 2.0) -> Trend:
    """A look: going on brings surely less than `upper` of the level per 500 steps."""
    return Trend(
        step=step, state="plateau", horizon=500.0, level=level, improvement=upper * level / 2, lower=-1.0,
        improvement_now=upper * level / 2, upper=upper * level * 1.5, upper_now=upper * level, end=level, end_error=0.001, per_step=-1e-6,
        per_step_error=1e-7, samples=step,
    )  # fmt: skip


def effect(gain: float, error: float = 0.01) -> Effect:
    return Effect(step=6000, scale=0.5, gain=gain, lower=gain - 1.96 * error, upper=gain + 1.96 * error, message="")


def scale(state: PolicyState, look: Trend, options: PolicyOptions = AUTO) -> float | None:
    after, command = decide(state, look, options)
    assert (command is None) == (after == state)
    return None if command is None else command.scale


def test_a_plateau_is_answered_with_a_cut_that_is_remembered_as_asked() -> None:
    after, command = decide(FRESH, trend(), AUTO)
    assert command is not None
    assert (command.step, command.scale, command.cause) == (5000, 0.5, "plateau")
    assert "surely less than 0.4 %; 0.5 % is asked before the first cut" in command.reason
    assert (after.asked, after.previous, after.commands, after.scale) == (0.5, 1.0, 1, 1.0)


@pytest.mark.parametrize(("upper", "expected"), [(0.0049, 0.5), (0.005, None), (0.1, None), (-0.1, 0.5)])
def test_the_first_cut_is_made_when_going_on_brings_surely_less_than_first_cut(
    upper: float, expected: float | None
) -> None:
    assert scale(FRESH, trend(upper=upper)) == expected


GUARDS: dict[str, tuple[PolicyState, PolicyOptions]] = {
    "observing": (FRESH, PolicyOptions(mode="observe")),
    "a strategy that never commands": (FRESH, PolicyOptions(mode="auto", strategy="observe")),
    "a command that is on its way": (replace(FRESH, asked=0.5), AUTO),
    "the budget": (replace(FRESH, commands=20), AUTO),
    "a budget of none": (FRESH, replace(AUTO, max_commands=0)),
    "the warmup": (FRESH, replace(AUTO, warmup_steps=5001)),
    "quiet after a rejection": (replace(FRESH, quiet_until=5000.5), AUTO),
    "the cooldown": (replace(FRESH, applied_at=4501), AUTO),
    "a longer cooldown": (replace(FRESH, applied_at=3001), replace(AUTO, cooldown=4.0)),
    "the smallest scale": (replace(FRESH, scale=0.001), AUTO),
    "a schedule that moves": (replace(FRESH, schedule_moves=True), AUTO),
    "no gain too often": (replace(FRESH, without_gain=MAX_WITHOUT_GAIN), AUTO),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_alone_keeps_a_cut_back(guard: str) -> None:
    state, options = GUARDS[guard]
    assert scale(state, trend(), options) is None


@pytest.mark.parametrize(
    ("state", "options"),
    [
        (replace(FRESH, commands=19), AUTO),
        (FRESH, replace(AUTO, warmup_steps=5000)),
        (replace(FRESH, quiet_until=5000.0), AUTO),
        (replace(FRESH, applied_at=4500), AUTO),
        (replace(FRESH, without_gain=MAX_WITHOUT_GAIN - 1), AUTO),
        (FRESH, PolicyOptions(mode="suggest")),
        (FRESH, PolicyOptions(mode="approve")),
    ],
)
def test_just_outside_a_guard_the_cut_is_made(state: PolicyState, options: PolicyOptions) -> None:
    assert scale(state, trend(), options) == 0.5


@pytest.mark.parametrize(
    ("now", "options", "expected"),
    [
        (0.0015, AUTO, 0.001),
        (1.0, replace(AUTO, factor=0.1), 0.1),
        (1.0, replace(AUTO, min_scale=0.7), 0.7),
        (5.0, AUTO, 1.0),
        (1.0, replace(AUTO, min_scale=1.0), None),
    ],
)
def test_a_cut_is_the_factor_within_the_bounds(now: float, options: PolicyOptions, expected: float | None) -> None:
    assert scale(replace(FRESH, scale=now), trend(), options) == expected


def test_what_a_cut_is_worth_is_learned_from_the_last_one() -> None:
    assert going_on_must_bring(FRESH, AUTO) == 0.005
    helped = learned(replace(FRESH, scale=0.5, previous=1.0, without_gain=1, going=0.02), effect(0.4, error=0.1))
    assert helped.gain == 0.4
    assert (helped.previous, helped.without_gain, helped.take_back) == (None, 0, False)
    assert going_on_must_bring(helped, AUTO) == PATIENCE_SHARE * 0.2
    assert going_on_must_bring(helped, replace(AUTO, factor=0.25)) == PATIENCE_SHARE * 0.1
    assert scale(helped, trend(upper=0.079)) == 0.25
    assert scale(helped, trend(upper=0.081)) is None
    _, command = decide(helped, trend(upper=0.079), AUTO)
    assert command is not None
    assert "going on brings 4 % per 500 steps, surely less than 7.9 %" in command.reason
    assert "the last cut brought 40 %, the next should bring 20 %" in command.reason


def test_a_cut_that_brought_less_than_going_on_is_taken_back_and_made_again_when_that_is_over() -> None:
    after_cut = PolicyState(scale=0.5, previous=1.0, commands=1, applied_at=5900, going=0.03)
    assert not learned(after_cut, effect(0.03 / KEEP_SHARE)).take_back
    early = learned(after_cut, effect(0.02))
    assert (early.take_back, early.without_gain, early.gain) == (True, 0, 0.02)
    asked, command = decide(early, trend(6000), AUTO)
    assert command is not None
    assert (command.scale, command.cause) == (1.0, "restore")
    assert "brought 2 %, while going on is worth 3 % per horizon" in command.reason
    restored = applied(asked, 6001, 1.0)
    assert going_on_must_bring(restored, AUTO) == PATIENCE_SHARE * 0.02  # the same cut brings the same
    assert scale(restored, trend(int(PATIENCE_AFTER_TRIAL * 6000) - 1)) is None
    assert scale(restored, trend(int(PATIENCE_AFTER_TRIAL * 6000))) == 0.5


def test_a_cut_without_gain_is_taken_back_and_not_tried_again_before_the_run_is_older() -> None:
    after_cut = PolicyState(scale=0.5, previous=1.0, commands=1, applied_at=5900)
    to_take_back = learned(after_cut, effect(-0.01))
    assert (to_take_back.take_back, to_take_back.without_gain) == (True, 1)
    asked, command = decide(to_take_back, trend(6000), AUTO)  # within the cooldown of a cut: a mistake is not kept
    assert command is not None
    assert (command.scale, command.cause) == (1.0, "restore")
    assert asked.quiet_until == PATIENCE_AFTER_RESTORE * 6000
    restored = applied(asked, 6001, 1.0)
    assert (restored.scale, restored.take_back, restored.previous) == (1.0, False, None)
    assert scale(restored, trend(8999)) is None
    assert scale(restored, trend(9000)) == 0.5


def test_while_the_schedule_moves_even_a_cut_without_gain_stays() -> None:
    state = PolicyState(scale=0.5, previous=1.0, take_back=True, schedule_moves=True)
    assert scale(state, trend()) is None


def test_after_too_many_cuts_without_gain_the_last_one_is_still_taken_back() -> None:
    state = replace(PolicyState(scale=0.5, previous=1.0), without_gain=MAX_WITHOUT_GAIN - 1)
    assert scale(learned(state, effect(0.0)), trend()) == 1.0


def test_no_gain_of_a_scale_that_was_not_ours_is_no_reason_to_take_back_a_later_cut() -> None:
    state = learned(PolicyState(scale=0.3, previous=None), effect(-0.1))
    after, command = decide(state, trend(), AUTO)
    assert command is not None
    assert command.scale == 0.15
    assert scale(applied(after, 5001, 0.15), trend(5002)) is None


def test_what_is_applied_or_refused_is_no_longer_asked() -> None:
    asked = replace(FRESH, asked=0.5, commands=1)
    assert applied(asked, 5010, 0.5) == replace(FRESH, scale=0.5, applied_at=5010, commands=1)
    assert rejected(asked, 7000.0) == replace(FRESH, quiet_until=7000.0, commands=1)


@pytest.mark.parametrize("level", [0.0, 5e-324])
def test_a_level_of_nothing_is_no_error(level: float) -> None:
    look = replace(trend(), level=level, upper_now=0.0, upper=0.0, improvement=0.0)
    assert scale(FRESH, look) == 0.5
    assert scale(FRESH, replace(look, upper_now=1.0)) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mode", "on"), ("strategy", "x"), ("factor", 1.0), ("factor", 0.0), ("factor", math.nan), ("first_cut", -1.0),
        ("min_scale", 0.0), ("min_scale", math.nan), ("max_scale", math.inf), ("max_scale", 0.0001), ("cooldown", -1.0),
        ("cooldown", math.inf), ("max_commands", -1), ("warmup_steps", -1),
    ],
)  # fmt: skip
def test_an_option_out_of_its_range_is_named(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        PolicyOptions(**{key: value})
