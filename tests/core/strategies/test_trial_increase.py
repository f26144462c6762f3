"""A trial upwards: only with permission, one at a time, and taken back unless it is proven better, by a look or by the curve."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.strategies import ClosedLoop, Loss, Moment
from support.trials import outcome

from lrwatch.core.command import Asked, BaselineTooOld, Joined, LevelShifted, Reset, Status, Trial, step
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Effect, Finding
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies.anneal import Anneal
from lrwatch.core.strategies.plateau import Plateau
from lrwatch.core.strategies.trial_increase import (
    AFTER_LOSS,
    DOUBLED,
    EXCESS_PER_GAIN,
    FACTOR,
    LONGEST,
    PATIENCE,
    SHARE,
    is_on,
    is_small,
    may_begin,
    verdict,
)
from lrwatch.core.strategies.trial_outcome import SURELY_NOT, TrialVerdict
from lrwatch.core.strategies.trials import AGAIN_LATER, Trials

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


# ---- measured by the curve --------------------------------------------------------------------------------------------

LEARNS = replace(FRESH, options=PERMITTED, context={"can_try": True})
KNOWN = replace(LEARNS, strategy=Anneal(), context={"can_try": True, "may_anneal": True, "total_steps": 4000})


def fall(steps: Any) -> Any:
    """A straight line over the logarithm of the steps."""
    return 6 - np.log1p(steps / 20)


def learning(best: float = np.inf) -> Loss:
    """A run that learns faster at a higher scale, until the scale is above `best`."""
    return lambda progress, scale: fall(progress) + np.maximum(scale - best, 0.0)


def heedless() -> Loss:
    """A run that learns as fast at any scale."""
    steps = 0

    def loss(progress: Any, scale: Any) -> Any:
        nonlocal steps
        steps += len(progress)
        return fall(np.arange(steps - len(progress), steps) + 1.0)

    return loss


def trials(moment: Moment) -> Trials:
    assert isinstance(moment.strategy, Trials)
    return moment.strategy


@pytest.mark.parametrize("start", [LEARNS, KNOWN], ids=["plateau", "anneal"])
def test_a_rate_that_is_too_low_is_doubled_and_stays_so_once_that_is_proven_better(start: Moment) -> None:
    run = ClosedLoop(start, learning()).until(1500)
    ups = [command for command in run.commands if command.cause == "too_slow"]
    assert [command.scale for command in ups[:2]] == [2.0, 4.0]
    assert run.moment.command.scale >= 2.0
    first = ups[0]
    assert first.reason == (
        f"the run learns fast, and a higher rate may bring more; scale 2 is tried for at most {LONGEST * first.step:,.0f} steps, "
        "and stays only if it is proven better"
    )
    assert run.effects[0].scale == 2.0
    assert run.effects[0].lower > 0


@pytest.mark.parametrize("start", [LEARNS, KNOWN], ids=["plateau", "anneal"])
def test_without_permission_the_curve_raises_nothing(start: Moment) -> None:
    run = ClosedLoop(replace(start, options=replace(PERMITTED, max_scale=1.0)), learning()).until(9000)
    assert [command for command in run.commands if command.scale > 1 or command.cause == "too_slow"] == []


def test_a_trial_that_loses_ends_long_before_its_time_and_comes_late_again() -> None:
    run = ClosedLoop(LEARNS, learning(best=1.0)).until(9000, command=True)
    up = run.commands[0]
    run.until(9000, command=True)
    back = run.commands[1]
    assert (up.scale, back.scale, back.cause) == (2.0, 1.0, "restore")
    assert back.step - up.step < 0.2 * LONGEST * up.step
    again = AFTER_LOSS * back.step
    assert trials(run.moment).no_increase_before == again
    assert back.reason == (
        f"the trial of scale 2 is taken back: it brought nothing; the next trial upwards begins at step {again:,.0f} or later"
    )
    assert run.effects[0].upper < 0
    assert trials(run.moment).excess is None  # beyond the best rate the excess grows faster than the rate


def test_a_trial_that_shows_nothing_in_time_is_taken_back_and_cuts_need_not_wait_for_it() -> None:
    run = ClosedLoop(LEARNS, heedless()).until(9000, command=True)
    up = run.commands[0]
    run.until(9000, command=True)
    back = run.commands[1]
    assert (up.scale, back.scale, back.cause) == (2.0, 1.0, "restore")
    assert back.step >= up.step + 0.9 * LONGEST * up.step
    assert trials(run.moment).no_increase_before == pytest.approx(AGAIN_LATER * back.step)
    assert trials(run.moment).not_before == 0.0


@pytest.mark.parametrize(
    ("excess", "gain", "begins"),
    [(0.0, 1.0, True), (EXCESS_PER_GAIN + 0.01, 1.0, False), (EXCESS_PER_GAIN - 0.01, 1.0, True), (0.0, 0.0, False)],
)
def test_an_excess_that_is_not_surely_small_allows_no_trial(excess: float, gain: float, begins: bool) -> None:
    assert is_small(excess, gain) is begins


@pytest.mark.parametrize(
    "limit",
    [
        {"learned": False},
        {"schedule_moves": True},
        {"can_try": False},
    ],
    ids=str,
)
def test_what_keeps_a_cut_back_keeps_a_trial_upwards_back(limit: dict[str, bool]) -> None:
    run = ClosedLoop(LEARNS, learning()).until(500)
    context = {**run.moment.context, **limit}
    assert not may_begin(500, replace(LEARNS, context=context).at())


def test_the_budget_and_the_warm_up_keep_it_back_too() -> None:
    curve = ClosedLoop(LEARNS, learning()).until(500).moment.context
    assert may_begin(500, replace(LEARNS.but(count=37), context=curve).at())
    assert not may_begin(500, replace(LEARNS.but(count=38), context=curve).at())
    warms = replace(LEARNS, options=replace(PERMITTED, warmup_steps=251), context=curve)
    assert not may_begin(500, warms.at())
    assert may_begin(502, warms.at())
    few = ClosedLoop(LEARNS, learning()).until(98).moment.context
    assert not may_begin(98, replace(LEARNS, context=few).at())


def test_after_a_cut_that_stays_nothing_is_raised() -> None:
    run = ClosedLoop(LEARNS.but(scale=0.5), learning()).until(9000)
    assert [command for command in run.commands if command.cause == "too_slow"] == []


def test_the_verdict_needs_a_proof_and_a_loss_ends_it_at_once() -> None:
    better = outcome(0.0, 0.1)._replace(gain=0.5)
    assert verdict(better, 1.0, may_stay=True) == TrialVerdict(keep=True)
    assert verdict(better, 1.0, may_stay=False) is None
    assert verdict(better, 0.31 / SHARE, may_stay=True) is None
    assert verdict(better, -9.0, may_stay=True) == TrialVerdict(keep=True)
    worse = better._replace(gain=SURELY_NOT * 0.1)
    assert verdict(worse, 1.0, may_stay=False) == TrialVerdict(keep=False, surely_not=True)
    nothing = better._replace(gain=0.01)
    assert verdict(nothing, 0.0, may_stay=True) is None
    assert verdict(nothing._replace(is_over=True), 0.0, may_stay=True) == TrialVerdict(keep=False)


@pytest.mark.slow
@pytest.mark.parametrize("scatter", [0.02, 0.3])
def test_a_run_that_learns_as_fast_at_any_scale_is_hardly_ever_raised(scatter: float) -> None:
    kept = 0
    for seed in range(40):
        run = ClosedLoop(LEARNS, heedless(), noise=scatter, seed=seed).until(4000, command=True)
        kept += run.until(4000, command=True).commands[1].cause != "restore"
    assert kept <= 4


@pytest.mark.parametrize("event", [LevelShifted(), Reset()])
def test_what_disturbs_the_curve_ends_it(event: Any) -> None:
    run = ClosedLoop(LEARNS, learning(), noise=0.3).until(9000, command=True)
    run.until(run.now + 5)
    run.moment = replace(run.moment.step(event), strategy=run.moment.strategy.disturbed())
    run.until(9000, command=True)
    assert (run.commands[1].scale, run.commands[1].cause) == (1.0, "restore")
    assert "cannot be measured" in run.commands[1].reason


def test_a_trainer_that_resumes_with_the_scale_of_a_failed_trial_is_taken_back() -> None:
    run = ClosedLoop(LEARNS, learning(best=1.0)).until(9000, command=True).until(9000, command=True)
    run.until(run.now + 5)
    run.moment = run.moment.step(Joined(run.now, 2.0))
    run.until(9000, command=True)
    assert (run.commands[-1].scale, run.commands[-1].cause) == (1.0, "restore")


def test_a_saved_trial_goes_on_where_it_was() -> None:
    run = ClosedLoop(LEARNS, learning()).until(9000, command=True)
    run.until(run.now + 20)
    state = json.loads(json.dumps(run.moment.strategy.state()))
    assert type(run.moment.strategy).from_state(state) == run.moment.strategy


def test_a_trial_of_double_the_scale_asks_for_no_more_than_the_largest() -> None:
    run = ClosedLoop(replace(LEARNS, options=replace(PERMITTED, max_scale=1.4)), learning()).until(9000, command=True)
    assert run.commands[0].scale == 1.4 < DOUBLED
