"""Trials: begun only where they may be, kept only where they are proven, and otherwise taken back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
from support.strategies import ClosedLoop, Loss, Moment, curve_of

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
    TrialKept,
)
from lrwatch.core.curve import Curve
from lrwatch.core.options import PolicyOptions
from lrwatch.core.sample import Floats
from lrwatch.core.stats.log_line import LogLine, fit
from lrwatch.core.strategies.base import Context
from lrwatch.core.strategies.trial_outcome import MIN_VALUES, TRANSIENT, Reversal, TrialOutcome, Verdict, measure
from lrwatch.core.strategies.trials import (
    AFTER_KEPT,
    AGAIN,
    AGAIN_LATER,
    DRIFT,
    WINDOW,
    Trials,
)
from lrwatch.core.watched_curve import CHECKS, CurvePart, WatchedCurve

AUTO = PolicyOptions(mode="auto")
# A cut from 1 to 0.5 that is in use and has no verdict yet.
CUT: dict[str, Any] = {"status": Status.ON_TRIAL, "scale": 0.5, "trial": Trial(1.0), "count": 1}


@dataclass(frozen=True, slots=True)
class Tries(Trials):
    """Tries whenever it may, and keeps what is proven when the time of the trial is over."""

    NAME: ClassVar[str] = "tries"
    demands: float = 0.0
    surely: bool = False

    def begins(self, line: LogLine, step: int, context: Context) -> str:
        """Always."""
        return "it may be worth it"

    def judges(self, outcome: TrialOutcome, line: LogLine, context: Context) -> Verdict | None:
        """When the time is over: whether the gain is proven and as large as demanded."""
        if not outcome.is_over:
            return None
        return Verdict(outcome.is_proven and outcome.gain > self.demands, surely_not=self.surely)


def settling(floor: float) -> Loss:
    """A run that has settled, and that the rate holds up by `floor` times the scale."""
    return lambda progress, scale: 2 + 3 * np.exp(-progress / 100) + floor * scale


def noise(n: int, seed: int = 0) -> Any:
    return 0.02 * np.random.default_rng(seed).standard_normal(n)


FLAT = curve_of(2 + noise(1000))
FRESH = Moment(Tries(), AUTO, context={"can_try": True, "curve": FLAT})


def tries(moment: Moment) -> Tries:
    assert isinstance(moment.strategy, Tries)
    return moment.strategy


def options(**changes: Any) -> Moment:
    return replace(FRESH, options=replace(AUTO, **changes))


def on_trial(loss: Loss, strategy: Tries = Tries(), start: int = 1000, **context: Any) -> ClosedLoop:
    """A run whose first trial is asked for at step `start` or just behind."""
    begins = replace(FRESH, strategy=replace(strategy, not_before=start)).knows(**context)
    return ClosedLoop(begins, loss).until(2 * start, command=True)


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


def outcome(excess: float, error: float) -> TrialOutcome:
    return TrialOutcome(
        gain=0.0, gain_error=error, excess=excess, excess_error=error, x=0.05, came=2.0, came_error=error
    )


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


# ---- each part of the life of a trial, alone ------------------------------------------------------------------------------

# Level 2 known to 0.1 at step 1001, without noise and without a trend.
KNOWN = LogLine(500.0, 1001, level=2.0, level_variance=0.01, gain=0.0, gain_variance=0.0, noise=1e-6)
BROUGHT = outcome(0.4, 0.02)
BACK = Reversal(0.5, 1.0, 1001, 50, KNOWN, BROUGHT, back_at=1051)


def after(levels: tuple[float, ...], last: int) -> Curve:
    """A thousand values of 2, and then as many steps of each level as fit up to `last`."""
    parts = np.array_split(np.arange(last - 1000), len(levels))
    return curve_of(
        np.concatenate([np.full(1000, 2.0), *(np.full(len(p), v) for p, v in zip(parts, levels, strict=True))])
    )


@pytest.mark.parametrize(
    ("strategy", "command", "can_try", "expected"),
    [
        (Tries(), CommandState(), False, False),
        (Tries(), CommandState(), True, True),
        (Tries(), CommandState(trial=Trial(1.0)), False, True),
        (Tries(reversal=BACK), CommandState(), False, True),
        (Tries(proven=BACK), CommandState(), False, True),
    ],
)
def test_checks_are_needed_while_a_trial_can_begin_or_is_not_over(
    strategy: Tries, command: CommandState, can_try: bool, expected: bool
) -> None:
    assert strategy.acts_at_checks(command, can_try=can_try, attached=True) is expected


@pytest.mark.parametrize(
    "moment", [options(mode="observe").but(**CUT, applied_at=900), FRESH.but(**CUT, applied_at=900, wanted=0.3)]
)
def test_while_lrwatch_observes_or_another_command_is_in_flight_a_trial_is_left_alone(moment: Moment) -> None:
    assert moment.check(1000) == (moment, None)


def test_after_a_way_back_that_a_person_denied_trials_go_on() -> None:
    moment, command = FRESH.learned(leaves=(0.5, 900)).check(1000)
    assert command is not None
    assert (command.cause, tries(moment).leaves) == ("probe", None)


def test_the_line_holds_the_newest_value_and_is_that_of_less_is_better() -> None:
    steps = np.arange(1, 401)
    curve = curve_of(2 + np.log(steps) + noise(400))
    assert Tries().fitted(300, FRESH.knows(curve=curve, sign=-1.0).at()) == fit(curve, 150, 301, -1.0)


@pytest.mark.parametrize(
    ("step", "epoch", "since", "first"),
    [
        (600, 100, 0.0, 300),  # three fit into the half
        (600, 250, 0.0, 100),  # two are the fewest, and reach back further
        (600, 300, 0.0, 300),  # the run is a step too young for two
        (601, 300, 0.0, 1),
        (600, 100, 395.0, 400),
        (600, 100, 400.0, 400),
        (600, 100, 401.0, 401),  # since the scale changed there are not two
    ],
)
def test_where_data_come_again_the_window_is_whole_epochs_at_one_scale(
    step: int, epoch: int, since: float, first: float
) -> None:
    at = FRESH.knows(curve=curve_of(np.full(600, 2.0)), epoch_steps=epoch).at()
    assert Tries(since=since)._window(step, at) == first
    assert Tries(since=since)._has_whole_epochs(step, at) is (step - first >= 2 * epoch)


def test_while_the_line_waits_for_its_last_values_nothing_happens() -> None:
    early = FRESH.but(**CUT, applied_at=1005).learned(awaits_line=True)
    assert early.check(1000) == (early, None)


def test_a_check_that_comes_late_fits_the_line_and_judges_at_once() -> None:
    late = FRESH.but(**CUT, applied_at=1001).learned(awaits_line=True).knows(curve=curve_of(2 + noise(1200)))
    moment, command = late.check(1200)
    assert command is not None
    assert (command.cause, tries(moment).awaits_line) == ("restore", False)
    assert "it cannot be measured" not in command.reason


def test_a_level_that_shifts_before_the_line_is_fitted_leaves_nothing_to_measure() -> None:
    shifted = FRESH.but(**CUT, applied_at=1001).learned(awaits_line=True).disturbed(LevelShifted())
    _, command = shifted.knows(curve=curve_of(2 + noise(1050))).check(1050)
    assert command is not None
    assert "it cannot be measured" in command.reason


def test_a_trial_whose_values_stay_away_waits_for_them() -> None:
    curve = curve_of(np.full(1001, 2.0), np.array([*range(1, 1001), 1100]))
    silent = FRESH.but(**CUT, applied_at=1001).learned(line=KNOWN).knows(curve=curve)
    assert silent.check(1100) == (silent, None)


@pytest.mark.parametrize(
    ("gain", "can_try", "cause"),
    [
        (2.6, True, "the metric is better"),
        (2.6, False, "it is not proven"),
        (2.2, True, "it is not proven"),
        (3.2, False, ""),
    ],
)
def test_a_proof_that_decides_alone_must_be_stronger(gain: float, can_try: bool, cause: str) -> None:
    """The gain in errors of the line: 2.4 are one in a hundred, 3 are one in five hundred."""
    on = (
        FRESH.but(**CUT, applied_at=1001)
        .learned(line=KNOWN)
        .knows(curve=after((2 - 0.1 * gain,), 1200), can_try=can_try)
    )
    moment, command = on.check(1200)
    assert cause in ("" if command is None else command.reason)
    assert (command is None) == (cause == "")
    assert moment.command.trial is None


@pytest.mark.parametrize("can_try", [True, False])
def test_a_cut_from_a_lower_scale_is_measured_by_the_share_of_that_scale(can_try: bool) -> None:
    loop = ClosedLoop(
        replace(FRESH.but(scale=0.5), strategy=Tries(not_before=1000)), lambda _, scale: 2 + 0.8 * scale
    ).until(2000, command=True)
    loop.moment = loop.moment.knows(can_try=can_try)
    loop.until(int(1.4 * loop.commands[0].step))
    assert loop.moment.command.scale == 0.25
    strategy, trial = tries(loop.moment), loop.commands[0]
    assert strategy.line is None
    assert strategy.excess == pytest.approx(0.2 / 2.4, rel=0.1), "half of the 0.4 that a scale of 0.5 cost"
    one = measure_of(loop, trial.step + 1)
    assert strategy.excess_error == pytest.approx(one / 2, rel=0.5)
    if can_try:
        assert strategy.held_back == 0.5 * (loop.commands[1].step - trial.step)


def measure_of(loop: ClosedLoop, applied_at: int) -> float:
    """The error of the excess that a trial of half of the scale shows, relative to the level before."""
    line = fit(loop.watched.curve, WINDOW * applied_at, applied_at)
    assert line is not None
    outcome = measure(line, loop.moment.at(), applied_at, int(1.1 * applied_at), 0.5)
    assert outcome is not None
    return outcome.excess_error / line.level


def test_what_nothing_is_known_of_is_still_unknown_after_a_cut() -> None:
    assert Tries()._kept(1000, 0.5) == Tries(since=1000.0, not_before=AFTER_KEPT * 1000)


def test_a_trial_that_looks_proven_puts_off_the_next_one() -> None:
    run = on_trial(settling(0.4)).until(2000, command=True)
    assert tries(run.moment).not_before == AGAIN * run.commands[1].step


def test_a_way_back_is_asked_for_again_at_the_step_until_which_it_waits() -> None:
    waits = FRESH.but(status=Status.TAKING_BACK, scale=0.5, trial=Trial(1.0), applied_at=900)
    for until, comes in ((1000.0, True), (1000.5, False)):
        _, command = waits.but(quiet_until=until).check(1000)
        assert (command is not None) is comes
        assert command is None or ": it is still in force and not proven;" in command.reason


@pytest.mark.parametrize("start", [options(max_factor_up=1.0), options(max_scale=0.5)])
@pytest.mark.parametrize("came", [2.0, 1.5])
def test_a_trial_that_may_not_go_back_is_over_and_leaves_nothing_behind(start: Moment, came: float) -> None:
    ended = start.but(**CUT, applied_at=1001).learned(line=KNOWN, held_back=3.0).knows(curve=after((came,), 1200))
    decision = ended.strategy.check(1200, ended.at())
    assert (decision.output, decision.event) == (None, TrialKept())
    assert (decision.effect is not None) is (came == 2.0), "of one that looks proven the comparison would tell"
    assert isinstance(decision.strategy, Tries)
    assert (decision.strategy.line, decision.strategy.reversal, decision.strategy.held_back) == (None, None, 3.0)
    assert decision.strategy.not_before == AGAIN * 1200


def test_what_is_taken_back_at_its_first_step_held_nothing_back() -> None:
    moment, command = FRESH.but(**CUT, applied_at=1000).check(1000)
    assert command is not None
    assert tries(moment).held_back == 0.0
    assert tries(moment.applied(1000, 1.0)).held_back == 0.0
    assert tries(moment.applied(1010, 1.0)).held_back == 5.0, "half of the scale for the ten steps of the way"


def test_a_scale_that_an_operator_sets_on_the_way_back_begins_a_new_count() -> None:
    moment, _ = FRESH.but(**CUT, applied_at=1000).check(1000)
    after = moment.step(Asked(0.7, by_operator=True)).applied(1010, 0.7)
    assert (tries(after).since, tries(after).held_back, tries(after).leaves) == (1010.0, 5.0, None)


def compares(levels: tuple[float, ...], step: int, **changes: Any) -> Moment:
    """A run whose rate is back since step 1051, and whose metric was and is at these levels."""
    return replace(FRESH, **changes).learned(reversal=BACK).knows(curve=after(levels, step))


def test_a_comparison_that_is_not_sure_goes_on_for_as_long_as_a_trial_may_last() -> None:
    last = 1051 + int(Tries.LONGEST * 1051)
    waits = compares((2.0,), last)
    assert waits.check(last) == (waits, None)
    over = compares((2.0,), last + 1)
    decision = over.strategy.check(last + 1, over.at())
    assert decision.strategy == replace(over.strategy, reversal=None)
    assert decision.effect is not None
    assert (decision.effect.step, decision.effect.verdict) == (last + 1, "no certain gain")


def test_a_cut_that_is_proven_waits_until_it_may_be_commanded() -> None:
    proven = compares((1.5, 2.0), 1101)
    quiet = proven.but(quiet_until=1102.0)
    assert quiet.check(1101) == (quiet, None)
    moment, command = proven.check(1101)
    assert command is not None
    assert (command.scale, command.cause, tries(moment).proven is not None) == (0.5, "plateau", True)
    cut = moment.applied(1102, 0.5)
    told = cut.strategy.check(1102, cut.at()).effect
    assert told is not None
    assert command.reason.endswith(told.message), "the reason says what the effect says"
    assert told.verdict == "helped"


def test_a_proven_cut_that_was_refused_is_dropped_and_trials_go_on() -> None:
    moment, command = FRESH.learned(proven=BACK).check(1000)
    assert command is not None
    assert (command.cause, tries(moment).proven) == ("probe", None)


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
