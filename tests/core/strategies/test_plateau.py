"""The plateau strategy, one step at a time from a moment made by the test; each limit alone keeps a command back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from support.strategies import Moment

from lrwatch.core.command import CommandState, Status, Trial
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
    Plateau,
)

AUTO = PolicyOptions(mode="auto", probe=False)
PROBING = PolicyOptions(mode="auto")
FRESH = Moment(Plateau(), AUTO)
PROBES = Moment(Plateau(), PROBING)
MOVES = {"schedule_moves": True}
# A cut from 1 to 0.5 that is in use and has no verdict yet.
CUT: dict[str, Any] = {"status": Status.ON_TRIAL, "scale": 0.5, "trial": Trial(1.0)}


def options(**changes: Any) -> Moment:
    return replace(FRESH, options=replace(AUTO, **changes))


def knows(moment: Moment, **changes: Any) -> Moment:
    assert isinstance(moment.strategy, Plateau)
    return replace(moment, strategy=replace(moment.strategy, **changes))


def plateau(moment: Moment) -> Plateau:
    assert isinstance(moment.strategy, Plateau)
    return moment.strategy


def trend(step: int = 5000, upper: float = 0.004, level: float = 2.0) -> Trend:
    """A look: going on brings half of `upper` of the level per 500 steps, surely less than `upper`."""
    return Trend(
        step=step, state="plateau", horizon=500.0, level=level, improvement=upper * level / 2, lower=-1.0,
        improvement_now=upper * level / 2, upper=upper * level * 1.5, upper_now=upper * level, end=level, end_error=0.001, per_step=-1e-6,
        per_step_error=1e-7, samples=step,
    )  # fmt: skip


def effect(gain: float, error: float = 0.01) -> Effect:
    return Effect(step=6000, scale=0.5, gain=gain, lower=gain - 1.96 * error, upper=gain + 1.96 * error, message="")


def scale(moment: Moment, look: Trend) -> float | None:
    after, command = moment.look(look)
    assert (command is None) == (after == moment)
    return None if command is None else command.scale


def test_a_plateau_is_answered_with_a_cut_on_trial() -> None:
    after, command = FRESH.look(trend())
    assert command is not None
    assert (command.step, command.scale, command.cause) == (5000, 0.5, "plateau")
    assert "surely less than 0.4 %; 0.5 % is asked before the first cut" in command.reason
    assert after.command == CommandState(Status.IN_FLIGHT, wanted=0.5, trial=Trial(1.0), count=1, log_ratio=0.5)


@pytest.mark.parametrize(("upper", "expected"), [(0.0049, 0.5), (0.005, None), (0.1, None), (-0.1, 0.5)])
def test_the_first_cut_is_made_when_continuing_brings_surely_less_than_first_cut(
    upper: float, expected: float | None
) -> None:
    assert scale(FRESH, trend(upper=upper)) == expected


LIMITS: dict[str, Moment] = {
    "observing": options(mode="observe"),
    "a command in flight": FRESH.but(status=Status.IN_FLIGHT, wanted=0.5),
    "the budget": FRESH.but(count=20),
    "a budget of none": options(max_commands=0),
    "the warmup": options(warmup_steps=5001),
    "quiet after a rejection": FRESH.but(quiet_until=5000.5),
    "the cooldown": FRESH.but(applied_at=3751),
    "a longer cooldown": options(cooldown=4.0).but(applied_at=3001),
    "the smallest scale": FRESH.but(scale=0.001),
    "a schedule that moves": replace(FRESH, context=MOVES),
    "a cut that was not measured": FRESH.but(**CUT, applied_at=3501),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_each_limit_alone_keeps_a_cut_back(limit: str) -> None:
    assert scale(LIMITS[limit], trend()) is None


@pytest.mark.parametrize(
    "moment",
    [
        FRESH.but(count=19),
        options(warmup_steps=5000),
        FRESH.but(quiet_until=5000.0),
        FRESH.but(applied_at=3750),
        FRESH.but(status=Status.ON_TRIAL, trial=Trial(1.0), applied_at=5000 - int(MAX_WAIT * 500)),
        replace(FRESH, options=PolicyOptions(mode="suggest")),
        replace(FRESH, options=PolicyOptions(mode="approve")),
    ],
)
def test_just_outside_a_limit_the_cut_is_made(moment: Moment) -> None:
    assert scale(moment, trend()) == 0.5


@pytest.mark.parametrize(
    ("now", "moment", "expected"),
    [
        (0.0015, FRESH, 0.001),
        (1.0, options(factor=0.1), 0.1),
        (1.0, options(min_scale=0.7), 0.7),
        (5.0, FRESH, 1.0),
        (1.0, options(min_scale=1.0), None),
    ],
)
def test_a_cut_is_the_factor_within_the_bounds(now: float, moment: Moment, expected: float | None) -> None:
    assert scale(moment.but(scale=now), trend()) == expected


def test_what_a_cut_is_worth_is_learned_from_what_cuts_brought() -> None:
    assert plateau(FRESH).worth_of_a_cut(FRESH.at()) == 0.005
    helped = FRESH.but(**CUT).measured(effect(0.4, error=1e-6))
    assert (plateau(helped).gain, helped.command.trial, helped.command.status) == (0.4, None, Status.IDLE)
    assert plateau(helped).excess == pytest.approx(0.8)  # half a scale took away 0.4
    worth = plateau(helped).worth_of_a_cut(helped.at())
    assert worth == pytest.approx(EXCESS_SHARE * 0.8 * 0.5)
    upper = worth / (0.5 + 0.7 / 2)  # its interval of 95 % ends there
    assert scale(helped, trend(upper=0.99 * upper)) == 0.25
    assert scale(helped, trend(upper=1.01 * upper)) is None
    _, command = knows(helped, excess_error=0.08).look(trend(upper=0.08))
    assert command is not None
    assert command.reason == (
        "going on brings 4 % \u00b1 2.8 % per 500 steps, surely less than 6.8 %; the last cut brought 40 %, by all so far the next "
        "should bring 20 % \u00b1 3.9 %, and going on must be worth 0.2 of the excess that the rate causes, 8 %"
    )


def test_cuts_are_pooled_by_their_precision() -> None:
    known = knows(FRESH.but(**CUT), excess=0.4, excess_error=0.01)
    hidden = plateau(known.measured(effect(-0.3, error=0.5)))
    assert hidden.excess == pytest.approx(0.4, rel=0.01)  # what noise hides weighs little
    clear = plateau(knows(known, excess_error=0.5).measured(effect(0.3, error=0.0001)))
    assert clear.excess == pytest.approx(0.6, rel=0.01)
    same = plateau(knows(known, excess_error=0.02 * math.sqrt(OLD_COUNTS)).measured(effect(0.3, error=0.01)))
    assert same.excess == pytest.approx((0.4 + 0.6) / 2)  # as precise as each other
    assert same.excess_error == pytest.approx(0.02 / math.sqrt(2))


def test_the_first_cut_is_weighed_against_a_guess() -> None:
    nothing_seen = plateau(FRESH.but(**CUT).measured(effect(-0.5, error=100.0)))
    assert nothing_seen.excess == pytest.approx(FIRST_GUESS, rel=0.01)
    assert nothing_seen.excess_error == pytest.approx(FIRST_GUESS, rel=0.01)


def test_the_excess_is_relative_to_the_level_as_that_falls() -> None:
    assert plateau(FRESH.but(**CUT).measured(effect(0.2, error=1e-6), 0.8)).excess == pytest.approx(0.4 / 0.8)


def test_an_excess_is_never_negative() -> None:
    failed = FRESH.but(**CUT).measured(effect(-0.2, error=1e-6))
    assert plateau(failed).excess == 0.0
    assert scale(failed.but(status=Status.IDLE, trial=None), trend(upper=0.001)) is None


def test_a_measurement_without_error_is_the_truth_and_two_are_no_error() -> None:
    certain = knows(FRESH.but(**CUT), excess=0.1, excess_error=0.0)
    assert plateau(certain.measured(effect(0.2, error=0.0))).excess == pytest.approx(0.4)


def test_a_cut_that_noise_hides_stays() -> None:
    after = FRESH.but(**CUT, count=1, applied_at=5400).measured(effect(-0.01, error=0.02))
    assert (after.command.status, after.command.trial) == (Status.IDLE, None)


def test_a_cut_that_cost_progress_is_undone_once_a_level_and_not_tried_again_before_the_run_is_older() -> None:
    costly = FRESH.but(**CUT, count=1, applied_at=5900).measured(effect(-0.03))
    assert (costly.command.status, plateau(costly).undone) == (Status.TAKING_BACK, 0.5)
    asked, command = costly.look(trend(6000))  # within the cooldown: a mistake is not kept
    assert command is not None
    assert (command.scale, command.cause) == (1.0, "restore")
    assert command.reason.startswith("No gain: the last cut cost progress (it brought -3 %)")
    assert asked.command.quiet_until == PATIENCE_AFTER_UNDO * 6000
    restored = knows(asked.applied(6001, 1.0), excess=0.4)
    assert (restored.command.scale, restored.command.status) == (1.0, Status.QUIET)
    assert scale(restored, trend(8999)) is None
    again, command = restored.look(trend(9000))
    assert command is not None
    assert command.scale == 0.5
    assert again.applied(9001, 0.5).measured(effect(-0.03)).command.status is Status.IDLE
    lower = restored.but(status=Status.ON_TRIAL, scale=0.25, trial=Trial(0.5))
    assert lower.measured(replace(effect(-0.03), scale=0.25)).command.status is Status.TAKING_BACK


def test_a_way_back_longer_than_one_command_may_go_takes_several() -> None:
    deep = FRESH.but(status=Status.TAKING_BACK, scale=0.1, trial=Trial(0.35), applied_at=5000)
    scales = []
    for at in (6000, 6001):
        deep, command = deep.look(replace(trend(at), horizon=1.0))
        assert command is not None
        scales.append(command.scale)
        deep = deep.applied(at, command.scale).but(quiet_until=0.0)
    assert scales == [0.2, 0.35]
    assert deep.command.status is Status.QUIET


def test_while_the_schedule_moves_even_a_cut_without_gain_stays() -> None:
    failed = replace(FRESH, context=MOVES).but(status=Status.TAKING_BACK, scale=0.5, trial=Trial(1.0))
    assert scale(failed, trend()) is None


def test_no_gain_of_a_scale_that_was_not_ours_is_no_reason_to_take_back_a_later_cut() -> None:
    foreign = FRESH.but(scale=0.3).measured(effect(-0.1))
    assert plateau(foreign).excess is None
    after, command = foreign.look(trend())
    assert command is not None
    assert command.scale == 0.15
    assert scale(after.applied(5001, 0.15), trend(5002)) is None


def test_the_effect_of_a_command_before_is_no_verdict_on_the_trial_in_flight() -> None:
    in_flight, _ = knows(FRESH.but(scale=0.5), excess=0.4).look(trend(upper=0.001))
    after = in_flight.measured(effect(-0.5, error=1e-6))
    assert after.command.status is Status.IN_FLIGHT
    assert (plateau(after).gain, plateau(after).excess) == (-0.5, 0.4)


@pytest.mark.parametrize("level", [0.0, 5e-324])
def test_a_level_of_nothing_is_no_error(level: float) -> None:
    look = replace(trend(), level=level, upper_now=0.0, upper=0.0, improvement=0.0)
    assert scale(FRESH, look) == 0.5
    assert scale(FRESH, replace(look, upper_now=1.0)) is None


# ---- probes -------------------------------------------------------------------------------------------------------


def probed(gain: float, error: float = 1e-4) -> Moment:
    """After a probe at step 5000, where continuing was worth 0.2 % of the level, that brought `gain`."""
    asked, command = PROBES.look(trend())
    assert command is not None
    return asked.applied(5001, command.scale).measured(effect(gain, error))


def test_before_anything_is_known_of_a_cut_one_is_made_as_an_experiment() -> None:
    asked, command = PROBES.look(trend(upper=0.08))
    assert command is not None
    assert (command.scale, command.cause) == (0.5, "probe")
    assert asked.command.trial is not None
    assert asked.command.trial.previous == 1.0
    assert asked.command.trial.worth == pytest.approx(0.04 + 0.7 * 0.04)
    assert "scale 0.5 is tried for as long, and kept if going on is worth less than 0.2 of the excess" in command.reason


@pytest.mark.parametrize(
    ("moment", "look"),
    [
        (FRESH, trend(upper=0.08)),
        (options(probe=True, mode="suggest"), trend(upper=0.08)),
        (options(probe=True, mode="approve"), trend(upper=0.08)),
        (PROBES, trend(upper=0.12)),  # its interval ends above PROBE_BELOW
        (PROBES, replace(trend(upper=0.08), samples=PROBE_SAMPLES - 1)),
        (knows(PROBES, excess=0.01), trend(upper=0.08)),
        (PROBES.but(status=Status.IN_FLIGHT, wanted=0.5), trend(upper=0.08)),
        (PROBES.but(quiet_until=5001), trend(upper=0.08)),
        (replace(PROBES, context=MOVES), trend(upper=0.08)),
    ],
)
def test_no_experiment_without_leave_or_need(moment: Moment, look: Trend) -> None:
    assert scale(moment, look) is None


def test_a_probe_that_shows_a_cut_to_be_worth_more_stays() -> None:
    rig = probed(0.1)
    assert (rig.command.status, rig.command.trial) == (Status.IDLE, None)
    assert plateau(rig).excess == pytest.approx(0.2, rel=1e-3)
    assert scale(rig, trend(6000)) is None  # the cooldown


@pytest.mark.parametrize(
    ("gain", "reason"),
    [
        (0.005, "the trial brought 0.5 %, while going on is worth up to 0.34 % per horizon: it came too early"),
        (-0.01, "No gain: the trial brought -1 %"),
    ],
)
def test_a_probe_that_came_too_early_is_taken_back_and_what_it_showed_is_known(gain: float, reason: str) -> None:
    failed = probed(gain)
    assert failed.command.status is Status.TAKING_BACK
    asked, command = failed.look(trend(5600))
    assert command is not None
    assert (command.scale, command.cause) == (1.0, "restore")
    assert command.reason.startswith(f"{reason}; it is taken back, and not tried again before step 7000")
    restored = asked.applied(5601, 1.0)
    assert (restored.command.trial, restored.command.status) == (None, Status.QUIET)
    assert plateau(restored).without_gain == 0
    assert scale(restored, trend(6999, upper=0.0)) is None
    if gain > 0:  # from then on the usual rule decides
        worth = plateau(restored).worth_of_a_cut(restored.at())
        assert scale(restored, trend(8000, upper=0.9 * worth)) == 0.5


def test_a_probe_whose_effect_noise_hides_is_taken_back_and_made_again_later() -> None:
    failed = probed(-0.007, error=0.012)
    assert (failed.command.status, plateau(failed).excess) == (Status.TAKING_BACK, None)
    asked, _ = failed.look(trend(5600))
    restored = asked.applied(5601, 1.0)
    assert scale(restored, trend(6999)) is None
    _, command = restored.look(trend(7001))
    assert command is not None
    assert command.cause == "probe"
    few = replace(trend(7001), samples=PROBE_SAMPLES - 1)  # of the new phase: meanwhile a plateau is cut as ever
    _, command = restored.look(few)
    assert command is not None
    assert command.cause == "plateau"


def test_a_probe_of_which_nothing_can_be_learned_is_taken_back() -> None:
    asked, _ = PROBES.look(trend())
    lost = asked.applied(5001, 0.5)  # then the level shifted, and its effect is not measured
    assert scale(lost, trend(6500)) is None
    after, command = lost.look(trend(6502))
    assert command is not None
    assert (command.scale, command.cause, after.command.status) == (1.0, "restore", Status.TAKING_BACK)
    assert "could not be measured" in command.reason


def test_a_probe_that_somebody_took_back_leaves_nothing_behind() -> None:
    after, command = probed(0.005).but(scale=1.0).look(trend(5600))
    assert (command, after.command.trial, after.command.status) == (None, None, Status.IDLE)


def test_after_two_cuts_in_a_row_without_gain_the_policy_stops_until_the_run_is_twice_as_old() -> None:
    known = knows(FRESH.but(**CUT), excess=0.3, excess_error=0.1)
    once = known.measured(effect(-0.001))
    assert (plateau(once).without_gain, once.command.quiet_until, once.command.status) == (1, 0.0, Status.IDLE)
    assert plateau(once.but(**CUT).measured(effect(0.001))).without_gain == 0
    twice = once.but(**CUT).measured(effect(-0.001))
    assert (plateau(twice).without_gain, twice.command.quiet_until) == (0, PATIENCE_WITHOUT_GAIN * 6000)
    look = replace(trend(11_999, upper=0.0), upper_now=0.0, improvement_now=0.0)
    assert scale(knows(twice, excess=0.3), look) is None
    assert scale(knows(twice, excess=0.3), replace(look, step=12_000)) == 0.25


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
