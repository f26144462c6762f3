"""Trials: begun only where they may be, kept only where they are proven, and otherwise taken back.

One file because the stages of one trial share its made-up runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from support.strategies import ClosedLoop, Loss, Moment, curve_of
from support.trials import CUT, FLAT, FRESH, Tries, noise, on_trial, options, outcome, settling, tries

import lrwatch
from lrwatch.core.command import (
    Asked,
    CommandState,
    Joined,
    LevelShifted,
    MetricChanged,
    Reset,
    Status,
    Trial,
)
from lrwatch.core.curve import Curve
from lrwatch.core.sample import Floats
from lrwatch.core.stats.log_line import LogLine, fit
from lrwatch.core.strategies.trial_outcome import MIN_VALUES, TRANSIENT, measure
from lrwatch.core.strategies.trials import (
    AFTER_KEPT,
    AGAIN,
    AGAIN_LATER,
    DRIFT,
)
from lrwatch.core.watched_curve import CHECKS, CurvePart, WatchedCurve

# ---- the begin of a trial -----------------------------------------------------------------------------------------------


def test_a_trial_is_a_cut_with_a_way_back() -> None:
    after, command = FRESH.check(1000)
    assert command is not None
    assert (command.step, command.scale, command.cause, command.ramp_steps) == (1000, 0.5, "probe", 0)
    assert command.reason == (
        "it may be worth it; scale 0.5 is tried for at most 100 steps, and stays only if it is proven to bring more than it costs"
    )
    assert after.command == CommandState(Status.IN_FLIGHT, wanted=0.5, trial=Trial(1.0), count=1, log_ratio=0.5)


LIMITS: dict[str, Moment] = {
    "no progress yet": FRESH.knows(learned=False),
    "a schedule that moves": FRESH.knows(schedule_moves=True),
    "nobody who applies it": FRESH.knows(can_try=False),
    "observing": options(mode="observe"),
    "a command in flight": FRESH.but(status=Status.IN_FLIGHT, wanted=0.7),
    "the budget": FRESH.but(count=40),
    "no budget for the way back and the cut": FRESH.but(count=37),
    "a way back of four commands and a budget for three": options(factor=0.1).but(count=34),
    "a scale that may not go up again": options(max_factor_up=1.0),
    "a scale above the largest": FRESH.but(scale=1.5),
    "the warmup": options(warmup_steps=1001),
    "quiet after a rejection": FRESH.but(quiet_until=1000.5),
    "the smallest scale": FRESH.but(scale=0.001),
    "a smallest scale of 1": options(min_scale=1.0),
    "the last trial": FRESH.learned(not_before=1000.5),
    "what trials have held back already": FRESH.learned(held_back=35.0),
    "too few values since the scale changed": FRESH.learned(since=990.0),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_each_limit_alone_keeps_a_trial_back(limit: str) -> None:
    assert LIMITS[limit].check(1000) == (LIMITS[limit], None)


@pytest.mark.parametrize(
    "moment",
    [
        FRESH.but(count=36),
        options(factor=0.1).but(count=33),
        options(warmup_steps=1000),
        FRESH.but(quiet_until=1000.0),
        FRESH.learned(not_before=1000.0),
        FRESH.learned(held_back=30.0),
        FRESH.learned(since=960.0),
        FRESH.but(scale=0.0015),
    ],
)
def test_just_outside_a_limit_a_trial_begins(moment: Moment) -> None:
    assert moment.check(1000)[1] is not None


def test_a_curve_of_few_values_is_tried_for_as_long_as_a_verdict_needs() -> None:
    sparse = FRESH.knows(curve=curve_of(2 + noise(40), np.arange(25, 1025, 25)))
    assert sparse.check(1000)[1] is None  # five values after the transient take 167 steps, and 100 are allowed
    dense = FRESH.knows(curve=curve_of(2 + noise(100), np.arange(10, 1010, 10)))
    _, command = dense.check(1000)
    assert command is not None
    assert MIN_VALUES / (1 - TRANSIENT) * 10 < 100


# ---- the line -----------------------------------------------------------------------------------------------------------


def test_the_line_is_fitted_to_what_came_before_the_step_of_application() -> None:
    values = np.concatenate([2 + noise(1100), 1 + noise(400)])
    asked = FRESH.knows(curve=curve_of(values)).check(1000)[0]
    line = tries(asked.applied(1101, 0.5).check(1101)[0]).line
    assert line == fit(curve_of(values), 1101 / 2, 1101)
    assert line is not None
    assert line.step == 1101
    assert line.level == pytest.approx(2.0, abs=0.01)
    since = tries(asked.learned(since=900.0).applied(1101, 0.5).check(1101)[0]).line
    assert since == fit(curve_of(values), 900, 1101)


def test_a_rising_line_is_not_continued_upwards() -> None:
    rises = LogLine(500.0, 1001, level=2.0, level_variance=0.0, gain=-5.0, gain_variance=0.0, noise=0.0)
    came = curve_of(np.full(1100, 2.1))
    outcome = measure(rises, FRESH.knows(curve=came).at(), 1001, 1100, 0.5)
    assert outcome is not None
    assert outcome.gain == pytest.approx(-0.1)  # and no 5 * x more
    assert not outcome.is_proven
    falls = measure(rises._replace(gain=5.0), FRESH.knows(curve=came).at(), 1001, 1100, 0.5)
    assert falls is not None
    assert falls.x == pytest.approx(math.log1p((TRANSIENT * 99 + 99) / 2 / 1001))
    assert falls.gain == pytest.approx(-0.1 - 5 * falls.x)


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_the_excess_is_that_of_the_whole_scale_at_equal_progress(share: float) -> None:
    """A curve that falls by 0.1 per e-fold of progress, with an excess of 0.4 times the scale: both are found again."""
    line = LogLine(500.0, 1001, level=2.0, level_variance=0.0, gain=0.1, gain_variance=0.0, noise=0.0)
    steps = np.arange(1001, 1101)
    after = 2.0 - 0.1 * share * np.log1p((steps - 1001) / 1001) - 0.4 * (1 - share)
    curve = curve_of(np.concatenate([np.full(1000, 2.0), after]))
    outcome = measure(line, FRESH.knows(curve=curve).at(), 1001, 1100, share)
    assert outcome is not None
    assert outcome.excess == pytest.approx(0.4, rel=1e-3)
    assert outcome.gain == pytest.approx(0.4 * (1 - share) - 0.1 * (1 - share) * outcome.x, rel=1e-3)


def test_before_enough_values_came_there_is_no_outcome() -> None:
    line = LogLine(500.0, 1001, 2.0, 0.0, 0.0, 0.0, 0.0)
    at = FRESH.knows(curve=curve_of(np.full(1008, 2.0))).at()
    assert measure(line, at, 1001, 1004, 0.5) is None
    assert measure(line, at, 1001, 1008, 0.5) is not None


def test_the_error_of_a_gain_is_that_of_many_trials_of_nothing() -> None:
    scores = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        steps = np.arange(1, 1101)
        curve = curve_of(5 - 0.3 * np.log(steps) + 0.05 * rng.standard_normal(1100))
        line = fit(curve, 500, 1001)
        assert line is not None
        outcome = measure(line, FRESH.knows(curve=curve).at(), 1001, 1100, 0.5)
        assert outcome is not None
        scores.append(outcome.gain / outcome.gain_error)
    assert abs(np.mean(scores)) < 0.25
    assert 0.85 < np.std(scores) < 1.2


# ---- kept ---------------------------------------------------------------------------------------------------------------


def test_a_cut_that_looks_proven_goes_back_and_stays_once_the_metric_gets_worse_again() -> None:
    run = on_trial(settling(0.4))
    run.until(int(1.4 * run.commands[0].step))
    trial, back, cut = run.commands
    strategy, (effect,) = tries(run.moment), run.effects
    assert [(one.cause, one.scale) for one in run.commands] == [("probe", 0.5), ("restore", 1.0), ("plateau", 0.5)]
    assert "the rate goes back for now, and the cut returns for good if that makes it worse" in back.reason
    assert cut.step - back.step <= 1.3 * (back.step - trial.step)
    assert run.moment.command.status is Status.IDLE
    assert (run.moment.command.scale, run.moment.command.trial) == (0.5, None)
    assert (strategy.line, strategy.reversal, strategy.proven, strategy.since) == (None, None, None, effect.step)
    assert strategy.held_back == 0.5 * (back.step - trial.step)
    assert strategy.not_before == AFTER_KEPT * effect.step
    assert strategy.excess == pytest.approx(0.2 / 2.4, rel=0.1)  # of what is left of it, relative to the level before
    assert (effect.verdict, effect.scale) == ("helped", 0.5)
    assert effect.gain == pytest.approx(0.2 / 2.4, rel=0.1)
    assert effect.line is not None
    assert effect.line.since == trial.step + 1
    assert (effect.line.before, effect.line.expected) == pytest.approx((2.4, 2.4), abs=0.02)
    assert effect.line.came == pytest.approx(2.2, abs=0.02)


@pytest.mark.parametrize("lasts", [30, 100])
def test_a_metric_that_falls_by_itself_in_a_trial_does_not_prove_it(lasts: int) -> None:
    """A run that leaves a saddle in the middle of its trial, at once or slowly: the scale does nothing to it."""

    def leaves(progress: Floats, _: Floats) -> Floats:
        return 2 + 3 * np.exp(-progress / 100) - np.clip((progress - 1020) / lasts, 0, 1)

    run = on_trial(leaves).until(1500)
    trial, back = run.commands[:2]
    assert [(one.cause, one.scale) for one in (trial, back)] == [("probe", 0.5), ("restore", 1.0)]
    assert (
        "the rate goes back for now, and the cut returns for good if that makes it worse" in back.reason
    )  # it looked proven
    assert not [command for command in run.commands if command.cause == "plateau"]
    assert run.effects[0].verdict == "no certain gain"
    assert run.effects[0].lower < 0 < run.effects[0].upper
    assert tries(run.moment).reversal is None
    assert not [command for command in run.commands[2:] if command.step < AGAIN * back.step]


def test_where_the_way_back_needs_a_person_the_line_alone_decides() -> None:
    run = on_trial(settling(0.4))
    run.moment = run.moment.knows(can_try=False)
    run.until(int(1.3 * run.commands[0].step))
    assert [command.cause for command in run.commands] == ["probe"]
    assert (run.moment.command.status, run.moment.command.scale) == (Status.IDLE, 0.5)
    assert [effect.verdict for effect in run.effects] == ["helped"]


@pytest.mark.parametrize("event", [LevelShifted(), Reset(), MetricChanged()])
def test_what_is_disturbed_while_the_rate_is_back_is_tried_again_later(event: Any) -> None:
    run = on_trial(settling(0.4)).until(2000, command=True)
    run.until(run.now + 5)
    assert tries(run.moment).reversal is not None
    run.moment = run.moment.disturbed(event)
    run.until(int(1.4 * run.commands[0].step))
    assert [command.cause for command in run.commands] == ["probe", "restore"]
    assert run.moment.command.scale == 1.0


def test_where_an_operator_sets_the_scale_meanwhile_that_stays() -> None:
    run = on_trial(settling(0.4)).until(2000, command=True)
    run.until(run.now + 5)
    asked = run.moment.step(Asked(0.7, by_operator=True))
    run.moment = asked.applied(run.now + 1, 0.7)
    run.until(int(1.4 * run.commands[0].step))
    assert [command.cause for command in run.commands] == ["probe", "restore"]
    assert (run.moment.command.scale, tries(run.moment).reversal) == (0.7, None)


def test_the_trials_of_a_metric_that_should_rise_are_the_same() -> None:
    falls, rises = on_trial(settling(0.4)), on_trial(settling(0.4))
    begins = replace(FRESH, strategy=Tries(not_before=1000))
    rises = ClosedLoop(begins, settling(0.4), sign=-1.0).until(2000, command=True)
    falls.until(3000), rises.until(3000)
    assert [(c.step, c.scale) for c in rises.commands] == [(c.step, c.scale) for c in falls.commands]
    for fall, rise in zip(falls.effects, rises.effects, strict=True):
        assert (rise.gain, rise.lower, rise.upper) == pytest.approx((fall.gain, fall.lower, fall.upper), rel=1e-6)
        assert fall.line is not None
        assert rise.line is not None
        assert (rise.line.before, rise.line.expected, rise.line.came) == pytest.approx(
            (-fall.line.before, -fall.line.expected, -fall.line.came)
        )


# ---- taken back ---------------------------------------------------------------------------------------------------------


def test_what_brought_nothing_is_taken_back_when_the_time_is_over() -> None:
    run = on_trial(settling(0.0)).until(2000, command=True)
    trial, back = run.commands
    assert (back.scale, back.cause) == (1.0, "restore")
    assert f"; the next trial begins at step {AGAIN * back.step:,.0f} or later" in back.reason
    assert 0.1 * trial.step <= back.step - trial.step <= 0.11 * trial.step
    assert run.moment.command.status is Status.TAKING_BACK
    run.until(back.step + 1)
    run.until(back.step + 40)
    assert (run.moment.command.status, run.moment.command.scale) == (Status.QUIET, 1.0)
    assert run.moment.command.quiet_until == tries(run.moment).not_before == AGAIN * back.step
    assert tries(run.moment).held_back == 0.5 * (back.step - trial.step)  # until its way back is applied
    assert tries(run.moment).since == 0.0  # the trial was an episode at the scale in use
    assert [effect.verdict == "helped" for effect in run.effects] == [False]
    run.until(2500, command=True)
    assert run.commands[2].cause == "probe"
    assert AGAIN * back.step <= run.commands[2].step <= (AGAIN + 0.04) * back.step


def test_what_costs_progress_is_taken_back() -> None:
    run = on_trial(lambda progress, scale: settling(0.0)(progress, scale) + 0.1 * (1 - scale)).until(2000, command=True)
    assert [command.scale for command in run.commands] == [0.5, 1.0]
    assert "it brought nothing" in run.commands[1].reason
    assert run.effects[0].verdict == "cost progress"


@pytest.mark.parametrize(("surely", "again"), [(False, AGAIN), (True, AGAIN_LATER)])
def test_what_brought_too_little_is_taken_back_and_comes_later_where_that_is_sure(surely: bool, again: float) -> None:
    run = on_trial(settling(0.2), Tries(demands=0.5, surely=surely)).until(2000, command=True)
    back = run.commands[1]
    assert (back.scale, back.cause) == (1.0, "restore")
    assert back.reason == (
        f"the trial of scale 0.5 is taken back: it is not proven; the next trial begins at step {again * back.step:,.0f} or later"
    )
    assert tries(run.moment).not_before == again * back.step
    run.until(2000)
    assert not [command for command in run.commands[2:] if command.step < again * back.step]


@pytest.mark.parametrize("event", [LevelShifted(), Reset(), MetricChanged()])
def test_what_cannot_be_measured_is_taken_back_at_the_next_check(event: Any) -> None:
    run = on_trial(settling(0.4))
    run.until(run.now + 1)
    run.moment = run.moment.disturbed(event)
    assert tries(run.moment).line is None
    run.until(2000, command=True)
    trial, back = run.commands
    assert (back.scale, back.cause) == (1.0, "restore")
    assert "it cannot be measured" in back.reason
    assert back.step - trial.step < 0.02 * trial.step
    assert run.effects == []
    assert tries(run.moment).excess is None


def test_what_was_not_looked_at_for_longer_than_its_line_is_taken_back() -> None:
    line = fit(FLAT, 500, 1001)
    assert line is not None
    cut = FRESH.but(**CUT, applied_at=1001).learned(line=line)
    last = int(line.step - line.first)
    for step, measured in ((1001 + last, True), (1002 + last, False)):
        late = cut.knows(curve=curve_of(np.concatenate([2 + noise(1000), 1.5 + noise(step - 1000)])))
        _, command = late.check(step)
        assert command is not None
        assert ("it cannot be measured" not in command.reason) is measured


def test_a_way_back_longer_than_one_command_may_go_takes_several() -> None:
    begins = replace(options(factor=0.1), strategy=Tries(not_before=1000))
    run = ClosedLoop(begins, settling(0.0)).until(1400)
    assert [command.scale for command in run.commands] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0])
    assert {command.cause for command in run.commands[1:]} == {"restore"}
    assert (run.moment.command.status, run.moment.command.trial) == (Status.QUIET, None)
    assert run.commands[-1].step < 1.1 * run.commands[1].step
    missing = sum(1 - scale for scale in run.scales)
    assert tries(run.moment).held_back == pytest.approx(missing, abs=5)


def test_a_way_back_that_is_refused_is_asked_for_again_when_the_wait_is_over() -> None:
    run = on_trial(settling(0.0)).until(2000, command=True)
    trial, back = run.commands
    until = back.step + 200
    run.moment = run.moment.refused(until)
    run.until(2000, command=True)
    again = run.commands[2]
    assert (again.scale, again.cause) == (1.0, "restore")
    assert until <= again.step < until + 100
    run.until(again.step + 40)
    assert (run.moment.command.status, run.moment.command.scale) == (Status.QUIET, 1.0)
    missing = sum(1 - scale for scale in run.scales)
    assert tries(run.moment).held_back == pytest.approx(missing, abs=2)
    assert again.step - trial.step == pytest.approx(2 * missing, abs=4)


def test_a_way_back_for_comparison_that_is_refused_is_asked_for_again_and_compared() -> None:
    run = on_trial(settling(0.4)).until(2000, command=True)
    run.moment = run.moment.refused(run.now + 20)
    run.until(int(1.6 * run.commands[0].step))
    assert [command.cause for command in run.commands] == ["probe", "restore", "restore", "plateau"]
    assert run.moment.command.scale == 0.5


def test_where_somebody_went_back_meanwhile_the_trial_is_over() -> None:
    joined = FRESH.but(**CUT, applied_at=900).step(Joined(950, 1.0))
    assert joined.knows(can_try=False).check(1000)[0].command.trial is None


def test_an_operator_ends_a_trial() -> None:
    run = on_trial(settling(0.0))
    run.until(run.now + 1)
    asked = run.moment.step(Asked(0.7, by_operator=True))
    after = asked.applied(run.now + 1, 0.7)
    assert (after.command.trial, after.command.status) == (None, Status.IDLE)
    assert (tries(after).line, tries(after).since) == (None, run.now + 1)


# ---- what trials cost, whatever comes -----------------------------------------------------------------------------------


def walk(seed: int, wander: float) -> Loss:
    """A loss that wanders for itself, and that the scale does nothing to."""
    way = wander * np.cumsum(np.random.default_rng(seed).standard_normal(20_000))
    at = iter(range(20_000))
    return lambda progress, _: 5 + np.array([way[next(at)] for _ in progress])


def held_back(run: ClosedLoop) -> list[tuple[int, float]]:
    """The end of each trial that was taken back, and the steps that all of them had held back by then."""
    ends = []
    held, trials = 0.0, [command for command in run.commands if command.cause in ("probe", "restore")]
    for trial, back in pairwise(trials):
        if trial.cause == "probe" and back.cause == "restore":
            held += (1 - trial.scale / back.scale) * (back.step - trial.step)
            ends.append((back.step, held))
    return ends


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("wander", [0.0, 0.001, 0.02, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_all_trials_that_failed_hold_back_at_most_a_twentieth(seed: int, wander: float, factor: float) -> None:
    begins = replace(options(factor=factor, max_factor_up=4.0, max_commands=60), strategy=Tries())
    run = ClosedLoop(begins, walk(seed, wander), noise=0.05, seed=seed).until(3000)
    ends = held_back(run)
    assert ends or wander  # without anything to find, trials do fail
    for step, held in ends:
        check = step / CHECKS + 1  # a trial ends at a check
        assert held <= Tries.HELD_BACK * step + (1 - factor) * check


# ---- what trials teach --------------------------------------------------------------------------------------------------


def test_trials_are_pooled_by_their_precision() -> None:
    line = LogLine(500.0, 1001, level=2.0, level_variance=0.0, gain=0.0, gain_variance=0.0, noise=0.0)
    first = Tries()._pooled(outcome(0.4, 0.02), line)
    assert (first.excess, first.excess_error) == (0.2, 0.01)
    same = first._pooled(outcome(0.6, 0.02), line)
    assert same.excess == pytest.approx(0.25)
    assert same.excess_error == pytest.approx(0.01 / math.sqrt(2))
    hidden = first._pooled(outcome(-5.0, 2.0), line)
    assert hidden.excess == pytest.approx(0.2, abs=0.001)
    assert Tries()._pooled(outcome(0.1, 0.0), line._replace(level=0.0)).excess == 0.1


def test_what_older_trials_said_counts_less_the_more_the_run_has_aged() -> None:
    line = LogLine(500.0, 1000, level=1.0, level_variance=0.0, gain=0.0, gain_variance=0.0, noise=0.0)
    old = Tries()._pooled(outcome(0.0, 0.01), line)
    assert [old.known_error(step) for step in (500, 1000)] == [0.01, 0.01]
    assert old.known_error(1000 * math.e) == pytest.approx(math.hypot(0.01, DRIFT))
    pooled = [old._pooled(outcome(0.1, 0.01), line._replace(step=step)).excess for step in (1000, 1100, 2000, 8000)]
    told = [excess for excess in pooled if excess is not None]
    assert told[0] == pytest.approx(0.05)
    assert told == sorted(told)
    assert len(told) == 4
    assert told[-1] > 0.09


# ---- state --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("floor", [0.0, 0.4])
def test_a_strategy_survives_a_restart_in_every_state(floor: float) -> None:
    run = ClosedLoop(replace(FRESH, strategy=Tries(not_before=1000)), settling(floor))
    seen = set()
    run.until(990)
    while run.now < 1300:
        run.until(run.now + 1)
        state = run.moment.strategy.state()
        assert json.loads(json.dumps(state)) == state  # as it is, so that a checkpoint needs no class of lrwatch
        strategy = tries(run.moment)
        assert Tries.from_state(state) == strategy
        waits_for = "line" if strategy.line else "reversal" if strategy.reversal else "proof" if strategy.proven else ""
        seen.add((run.moment.command.status, waits_for))
    expected = {(Status.IDLE, ""), (Status.IN_FLIGHT, ""), (Status.ON_TRIAL, "line")}
    if floor == 0:
        assert seen == expected | {(Status.TAKING_BACK, ""), (Status.QUIET, "")}
    else:
        back = {(Status.TAKING_BACK, "reversal"), (Status.QUIET, "reversal")}
        assert seen == expected | back | {(Status.IN_FLIGHT, "proof")}


def test_an_empty_curve_is_no_error() -> None:
    assert FRESH.knows(curve=Curve()).check(0)[1] is None


# ---- noise with heavy tails --------------------------------------------------------------------------------------------

TAILS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "student t, 1.5 degrees": lambda rng, n: 0.1 * rng.standard_t(1.5, n),
    "student t, 3 degrees": lambda rng, n: 0.3 * rng.standard_t(3, n),
    "log-normal": lambda rng, n: 0.2 * (np.exp(rng.standard_normal(n)) - math.exp(0.5)),
    "gaussian": lambda rng, n: 0.3 * rng.standard_normal(n),
}


@pytest.mark.slow
@pytest.mark.parametrize("tails", TAILS)
def test_a_healthy_curve_keeps_its_rate_however_heavy_the_tails_of_its_noise(tails: str) -> None:
    """Trials begin, because it falls slowly against its noise, and none of them brings anything: none may stay."""
    steps = np.arange(1, 3001)
    trials = 0
    for seed in range(6):
        noise = TAILS[tails](np.random.default_rng(seed), len(steps))
        controller = lrwatch.Controller(direction="min")
        for step, value in zip(steps.tolist(), (2 + 8 * steps**-0.35 + noise).tolist(), strict=True):
            controller.update(step, value)
        trials += len(controller.effects)
        assert not [command for command in controller.commands if command.cause not in ("probe", "restore")]
        in_use = controller.commands[-1].scale if controller.commands else 1.0
        assert in_use == 1.0 or controller.commands[-1].cause == "probe"  # one may be on when the log ends
    assert trials > 0


def test_a_spike_just_after_a_cut_is_no_gain() -> None:
    """The scatter of the values before it says what a spike is, though the level may have changed."""
    rng = np.random.default_rng(5)
    values = 2 + 0.1 * rng.standard_normal(500)
    watched = WatchedCurve()
    watched.take(CurvePart(list(range(1, 401)), values[:400].tolist(), checked=True))
    watched.level_may_change(401)
    after = values[400:420] - 0.5  # a true step of the level
    after[10] -= 1000.0
    watched.take(CurvePart(list(range(401, 421)), after.tolist(), checked=True))
    assert watched.curve.mean(401, 421) == pytest.approx(1.5, abs=0.1)
