"""The policy, one step at a time from a state made by hand; each guard alone keeps a command back."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import pytest

from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Effect
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies.plateau import (
    EXCESS_SHARE,
    FIRST_GUESS,
    MAX_WAIT,
    OLD_COUNTS,
    PATIENCE_AFTER_UNDO,
    PATIENCE_WITHOUT_GAIN,
    PROBE_SAMPLES,
    PolicyState,
    applied,
    decide,
    going_on_must_bring,
    learned,
    rejected,
)

AUTO = PolicyOptions(mode="auto", probe=False)
PROBING = PolicyOptions(mode="auto")
FRESH = PolicyState()


def trend(step: int = 5000, upper: float = 0.004, level: float = 2.0) -> Trend:
    """A look: going on brings half of `upper` of the level per 500 steps, surely less than `upper`."""
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
    "the cooldown": (replace(FRESH, applied_at=3751), AUTO),
    "a longer cooldown": (replace(FRESH, applied_at=3001), replace(AUTO, cooldown=4.0)),
    "the smallest scale": (replace(FRESH, scale=0.001), AUTO),
    "a schedule that moves": (replace(FRESH, schedule_moves=True), AUTO),
    "a cut that was not measured": (replace(FRESH, scale=0.5, previous=1.0, applied_at=3501), AUTO),
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
        (replace(FRESH, applied_at=3750), AUTO),
        (replace(FRESH, previous=2.0, applied_at=5000 - int(MAX_WAIT * 500)), AUTO),
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


def test_what_a_cut_is_worth_is_learned_from_what_cuts_brought() -> None:
    assert going_on_must_bring(FRESH, AUTO) == 0.005
    helped = learned(replace(FRESH, scale=0.5, previous=1.0), effect(0.4, error=1e-6))
    assert (helped.gain, helped.previous, helped.take_back) == (0.4, None, False)
    assert helped.excess == pytest.approx(0.8)  # half a scale took away 0.4
    worth = going_on_must_bring(helped, AUTO)
    assert worth == pytest.approx(EXCESS_SHARE * 0.8 * 0.5)
    upper = worth / (0.5 + 0.7 / 2)  # its interval of 95 % ends there
    assert scale(helped, trend(upper=0.99 * upper)) == 0.25
    assert scale(helped, trend(upper=1.01 * upper)) is None
    _, command = decide(replace(helped, excess_error=0.08), trend(upper=0.08), AUTO)
    assert command is not None
    assert command.reason == (
        "going on brings 4 % \u00b1 2.8 % per 500 steps, surely less than 6.8 %; the last cut brought 40 %, by all so far the next "
        "should bring 20 % \u00b1 3.9 %, and going on must be worth 0.2 of the excess that the rate causes, 8 %"
    )


def test_cuts_are_pooled_by_their_precision() -> None:
    known = replace(FRESH, scale=0.5, previous=1.0, excess=0.4, excess_error=0.01)
    hidden = learned(known, effect(-0.3, error=0.5))
    assert hidden.excess == pytest.approx(0.4, rel=0.01)  # what noise hides weighs little
    clear = learned(replace(known, excess_error=0.5), effect(0.3, error=0.0001))
    assert clear.excess == pytest.approx(0.6, rel=0.01)
    same = learned(replace(known, excess_error=0.02 * math.sqrt(OLD_COUNTS)), effect(0.3, error=0.01))
    assert same.excess == pytest.approx((0.4 + 0.6) / 2)  # as precise as each other
    assert same.excess_error == pytest.approx(0.02 / math.sqrt(2))


def test_the_first_cut_is_weighed_against_a_guess() -> None:
    nothing_seen = learned(replace(FRESH, scale=0.5, previous=1.0), effect(-0.5, error=100.0))
    assert nothing_seen.excess == pytest.approx(FIRST_GUESS, rel=0.01)
    assert nothing_seen.excess_error == pytest.approx(FIRST_GUESS, rel=0.01)


def test_the_excess_is_relative_to_the_level_as_that_falls() -> None:
    known = learned(replace(FRESH, scale=0.5, previous=1.0), effect(0.2, error=1e-6), 0.8)
    assert known.excess == pytest.approx(0.4 / 0.8)


def test_an_excess_is_never_negative() -> None:
    known = learned(replace(FRESH, scale=0.5, previous=1.0), effect(-0.2, error=1e-6))
    assert known.excess == 0.0
    assert scale(replace(known, take_back=False), trend(upper=0.001)) is None


def test_a_measurement_without_error_is_the_truth_and_two_are_no_error() -> None:
    state = replace(FRESH, scale=0.5, previous=1.0, excess=0.1, excess_error=0.0)
    assert learned(state, effect(0.2, error=0.0)).excess == pytest.approx(0.4)


def test_a_cut_that_noise_hides_stays() -> None:
    state = learned(PolicyState(scale=0.5, previous=1.0, commands=1, applied_at=5400), effect(-0.01, error=0.02))
    assert (state.take_back, state.previous) == (False, None)


def test_a_cut_that_cost_progress_is_undone_once_a_level_and_not_tried_again_before_the_run_is_older() -> None:
    after_cut = PolicyState(scale=0.5, previous=1.0, commands=1, applied_at=5900)
    costly = learned(after_cut, effect(-0.03))
    assert (costly.take_back, costly.undone) == (True, 0.5)
    asked, command = decide(costly, trend(6000), AUTO)  # within the cooldown: a mistake is not kept
    assert command is not None
    assert (command.scale, command.cause) == (1.0, "restore")
    assert command.reason.startswith("No gain: the last cut cost progress (it brought -3 %)")
    assert asked.quiet_until == PATIENCE_AFTER_UNDO * 6000
    restored = replace(applied(asked, 6001, 1.0), excess=0.4)
    assert (restored.scale, restored.take_back, restored.previous) == (1.0, False, None)
    assert scale(restored, trend(8999)) is None
    again, command = decide(restored, trend(9000), AUTO)
    assert command is not None
    assert command.scale == 0.5
    assert not learned(applied(again, 9001, 0.5), effect(-0.03)).take_back
    lower = replace(restored, scale=0.25, previous=0.5)
    assert learned(lower, replace(effect(-0.03), scale=0.25)).take_back


def test_a_state_of_the_version_before_is_restored_and_what_it_does_not_say_is_the_default() -> None:
    old = {
        "scale": 0.25,
        "commands": 2,
        "applied_at": 100,
        "gain": 0.1,
        "going": 0.02,
        "tried": False,
        "without_gain": 1,
    }
    state = PolicyState.restore(old)
    assert (state.scale, state.commands, state.applied_at) == (0.25, 2, 100)
    assert (state.excess, state.excess_error) == (0.4, 0.4)
    assert PolicyState.restore({}) == PolicyState()
    by_an_operator = PolicyState(scale=0.5, gain=0.1)
    assert PolicyState.restore(asdict(by_an_operator)) == by_an_operator
    assert PolicyState.restore(asdict(state)) == state


def test_while_the_schedule_moves_even_a_cut_without_gain_stays() -> None:
    state = PolicyState(scale=0.5, previous=1.0, take_back=True, schedule_moves=True)
    assert scale(state, trend()) is None


def test_no_gain_of_a_scale_that_was_not_ours_is_no_reason_to_take_back_a_later_cut() -> None:
    state = learned(PolicyState(scale=0.3, previous=None), effect(-0.1))
    assert state.excess is None
    after, command = decide(state, trend(), AUTO)
    assert command is not None
    assert command.scale == 0.15
    assert scale(applied(after, 5001, 0.15), trend(5002)) is None


def test_what_is_applied_or_refused_is_no_longer_asked() -> None:
    asked = replace(FRESH, asked=0.5, commands=1)
    assert applied(asked, 5010, 0.5) == replace(FRESH, scale=0.5, applied_at=5010, commands=1)
    assert rejected(replace(asked, previous=1.0), 7000.0) == replace(FRESH, quiet_until=7000.0, commands=1)


@pytest.mark.parametrize("level", [0.0, 5e-324])
def test_a_level_of_nothing_is_no_error(level: float) -> None:
    look = replace(trend(), level=level, upper_now=0.0, upper=0.0, improvement=0.0)
    assert scale(FRESH, look) == 0.5
    assert scale(FRESH, replace(look, upper_now=1.0)) is None


# ---- probes -------------------------------------------------------------------------------------------------------


def probed(gain: float, error: float = 1e-4, look: Trend | None = None) -> PolicyState:
    """After a probe at step 5000, where going on was worth 0.2 % of the level, that brought `gain`."""
    asked, command = decide(FRESH, look or trend(), PROBING)
    assert command is not None
    return learned(applied(asked, 5001, command.scale), effect(gain, error))


def test_before_anything_is_known_of_a_cut_one_is_made_as_an_experiment() -> None:
    asked, command = decide(FRESH, trend(upper=0.08), PROBING)
    assert command is not None
    assert (command.scale, command.cause, asked.previous) == (0.5, "probe", 1.0)
    assert asked.probe == pytest.approx(0.04 + 0.7 * 0.04)
    assert "scale 0.5 is tried for as long, and kept if going on is worth less than 0.2 of the excess" in command.reason


@pytest.mark.parametrize(
    ("state", "look", "options"),
    [
        (FRESH, trend(upper=0.08), AUTO),
        (FRESH, trend(upper=0.08), replace(PROBING, mode="suggest")),
        (FRESH, trend(upper=0.08), replace(PROBING, mode="approve")),
        (FRESH, trend(upper=0.12), PROBING),  # its interval ends above PROBE_BELOW
        (FRESH, replace(trend(upper=0.08), samples=PROBE_SAMPLES - 1), PROBING),
        (replace(FRESH, excess=0.01), trend(upper=0.08), PROBING),
        (replace(FRESH, asked=0.5), trend(upper=0.08), PROBING),
        (replace(FRESH, quiet_until=5001), trend(upper=0.08), PROBING),
        (replace(FRESH, schedule_moves=True), trend(upper=0.08), PROBING),
    ],
)
def test_no_experiment_without_leave_or_need(state: PolicyState, look: Trend, options: PolicyOptions) -> None:
    assert scale(state, look, options) is None


def test_a_probe_that_shows_a_cut_to_be_worth_more_stays() -> None:
    kept = probed(0.1)
    assert (kept.take_back, kept.probe, kept.previous) == (False, None, None)
    assert kept.excess == pytest.approx(0.2, rel=1e-3)
    assert scale(kept, trend(6000), PROBING) is None  # the cooldown


@pytest.mark.parametrize(
    ("gain", "why"),
    [
        (0.005, "the trial brought 0.5 %, while going on is worth up to 0.34 % per horizon: it came too early"),
        (-0.01, "No gain: the trial brought -1 %"),
    ],
)
def test_a_probe_that_came_too_early_is_taken_back_and_what_it_showed_is_known(gain: float, why: str) -> None:
    back = probed(gain)
    assert back.take_back
    asked, command = decide(back, trend(5600), PROBING)
    assert command is not None
    assert (command.scale, command.cause) == (1.0, "restore")
    assert command.reason.startswith(f"{why}; it is taken back, and not tried again before step 7000")
    restored = applied(asked, 5601, 1.0)
    assert (restored.probe, restored.previous, restored.take_back, restored.without_gain) == (None, None, False, 0)
    assert scale(restored, trend(6999, upper=0.0), PROBING) is None
    if gain > 0:  # from then on the usual rule decides
        assert scale(restored, trend(8000, upper=0.9 * going_on_must_bring(restored, PROBING)), PROBING) == 0.5


def test_a_probe_whose_effect_noise_hides_is_taken_back_and_made_again_later() -> None:
    back = probed(-0.007, error=0.012)
    assert (back.take_back, back.excess) == (True, None)
    asked, _ = decide(back, trend(5600), PROBING)
    restored = applied(asked, 5601, 1.0)
    assert scale(restored, trend(6999), PROBING) is None
    _, command = decide(restored, trend(7001), PROBING)
    assert command is not None
    assert command.cause == "probe"
    few = replace(trend(7001), samples=PROBE_SAMPLES - 1)  # of the new phase: meanwhile a plateau is cut as ever
    _, command = decide(restored, few, PROBING)
    assert command is not None
    assert command.cause == "plateau"


def test_a_probe_of_which_nothing_can_be_learned_is_taken_back() -> None:
    asked, _ = decide(FRESH, trend(), PROBING)
    lost = applied(asked, 5001, 0.5)  # then the level shifted, and its effect is not measured
    assert scale(lost, trend(6500), PROBING) is None
    _, command = decide(lost, trend(6502), PROBING)
    assert command is not None
    assert (command.scale, command.cause) == (1.0, "restore")
    assert "could not be measured" in command.reason


def test_a_probe_below_which_somebody_went_leaves_nothing_behind() -> None:
    below = replace(probed(0.005), scale=1.0, asked=None)
    after, command = decide(below, trend(5600), PROBING)
    assert (command, after.probe, after.previous, after.take_back) == (None, None, None, False)


def test_after_two_cuts_in_a_row_without_gain_the_policy_stops_until_the_run_is_twice_as_old() -> None:
    known = replace(FRESH, scale=0.5, previous=1.0, excess=0.3, excess_error=0.1)
    once = learned(known, effect(-0.001))
    assert (once.without_gain, once.quiet_until, once.take_back) == (1, 0.0, False)
    assert learned(replace(once, previous=1.0), effect(0.001)).without_gain == 0
    twice = learned(replace(once, previous=1.0), effect(-0.001))
    assert (twice.without_gain, twice.quiet_until) == (0, PATIENCE_WITHOUT_GAIN * 6000)
    look = replace(trend(11_999, upper=0.0), upper_now=0.0, improvement_now=0.0)
    assert scale(replace(twice, excess=0.3), look) is None
    assert scale(replace(twice, excess=0.3), replace(look, step=12_000)) == 0.25


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
