"""Anneal: hold, then one line to the end of the run, as long as what is known of the excess and the progress calls for.

One file because the stages of one strategy share its made-up runs.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.strategies import ClosedLoop, Loss, Moment, curve_of

from lrwatch.core.command import Asked, CommandState, Joined, Reset, Status, Trial
from lrwatch.core.options import PolicyOptions
from lrwatch.core.stats.log_line import LogLine
from lrwatch.core.strategies.anneal import (
    CUT,
    DECLINE,
    EARLIEST,
    FIRST_TRIAL,
    HOLD,
    LAST_STEP,
    LAST_TRIAL,
    LONGEST_SHARE,
    RHO,
    RUN_HELD_BACK,
    SLOWED,
    UNPROVEN,
    Anneal,
)
from lrwatch.core.strategies.trial_outcome import Reversal, TrialOutcome, TrialVerdict

TOTAL = 3000
AUTO = PolicyOptions(mode="auto")
KNOWS: dict[str, Any] = {"can_try": True, "may_anneal": True, "total_steps": TOTAL}
FRESH = Moment(Anneal(), AUTO, context=KNOWS)
HOLDS = FRESH.knows(can_try=False)


def settling(floor: float, gain: float = 0.0) -> Loss:
    """A run that settles, falls by `gain` per e-fold of progress, and that the rate holds up by `floor` times the scale."""
    return lambda progress, scale: 2 + 3 * np.exp(-progress / 100) - gain * np.log(progress / TOTAL) + floor * scale


def run(start: Moment = HOLDS, loss: Loss | None = None, end: int = TOTAL, **options: Any) -> ClosedLoop:
    return ClosedLoop(start, loss or settling(0.2), **options).until(end)


def anneal(moment: Moment) -> Anneal:
    assert isinstance(moment.strategy, Anneal)
    return moment.strategy


# ---- the line -----------------------------------------------------------------------------------------------------------


def test_it_is_one_command_whose_ramp_ends_with_the_run() -> None:
    loop = run()
    (command,) = loop.commands
    assert command.cause == "anneal"
    assert command.step + command.ramp_steps == TOTAL
    assert anneal(loop.moment).ends == TOTAL
    assert (
        f"the scale falls in a line to {command.scale:.4g} at step {TOTAL:,}, over the last {100 * command.ramp_steps / TOTAL:.0f} %"
        in command.reason
    )
    assert "no trial has shown what this rate costs" in command.reason
    ramp = loop.scales[command.step :]
    assert ramp == pytest.approx(np.linspace(1, command.scale, command.ramp_steps + 1)[1:])
    assert loop.scales[: command.step] == [1.0] * command.step


def test_without_a_proven_excess_the_line_is_shorter_and_shortest_where_the_run_has_not_slowed_down() -> None:
    (command,) = run().commands
    assert 0.98 * SLOWED <= command.ramp_steps / TOTAL <= SLOWED, "it is flat after a fall"
    flat = LINE._replace(gain=1e-9)
    fell = curve_of(np.concatenate([np.full(50, 9.0), np.full(1451, 2.0)]))
    falls = curve_of(np.linspace(9.0, 2.0, 1501))
    shares = [Anneal().share(flat, HOLDS.knows(curve=curve).at()) for curve in (fell, falls)]
    assert shares == [SLOWED, UNPROVEN]


def test_with_a_proven_excess_it_is_longer_and_none_is_longer_than_the_longest() -> None:
    proven = run(HOLDS.learned(excess=0.5, excess_error=0.01)).commands[0]
    assert 0.98 * LONGEST_SHARE <= proven.ramp_steps / TOTAL <= LONGEST_SHARE
    assert proven.step >= EARLIEST * TOTAL
    assert "this rate costs 50.0 % \u00b1 1.0 % of the level" in proven.reason


@pytest.mark.parametrize("left", [5, 20, 200])
def test_the_last_step_of_the_line_divides_the_scale_by_less_than_ten(left: float) -> None:
    decision = anneal(HOLDS)._anneal(TOTAL - int(left), int(left), 0.2, HOLDS.at())
    assert isinstance(decision.event, Asked)
    moment = HOLDS.step(decision.event).applied(TOTAL - int(left) + 1, decision.event.scale)
    last, before = moment.command.scale_at(TOTAL), moment.command.scale_at(TOTAL - 1)
    assert last == decision.event.scale == max(AUTO.min_scale, 1 / (LAST_STEP * left))
    assert before / last < 10


LINE = LogLine(500.0, 1501, level=2.0, level_variance=0.0, gain=0.2, gain_variance=0.0, noise=0.0)


def test_the_share_grows_with_the_excess_and_falls_with_the_gain() -> None:
    context = HOLDS.at()
    knows = [Anneal(excess=excess, excess_error=1e-3) for excess in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)]
    by_excess = [one.share(LINE, context) for one in knows]
    assert by_excess == sorted(by_excess)
    assert by_excess[2] == pytest.approx(RHO * 0.05 * 2.0 / (0.2 * (1501 / TOTAL) ** DECLINE), rel=1e-2)
    by_gain = [knows[2].share(LINE._replace(gain=gain), context) for gain in (-1.0, 0.0, 0.1, 0.2, 0.5, 2.0)]
    assert by_gain == sorted(by_gain, reverse=True)
    assert by_gain[0] == by_gain[1] == LONGEST_SHARE
    unsure = [knows[2].share(LINE._replace(gain_variance=error**2), context) for error in (0.0, 0.05, 0.5)]
    assert unsure == sorted(unsure, reverse=True)


@pytest.mark.parametrize(
    ("excess", "error", "most"),
    [
        (None, 0.0, UNPROVEN),
        (0.5, 0.4, UNPROVEN),
        (0.5, 0.2, LONGEST_SHARE),
        (0.001, 0.01, UNPROVEN),
        (0.5, 0.01, LONGEST_SHARE),
    ],
)
def test_only_a_proven_excess_makes_a_line_longer_than_unproven(
    excess: float | None, error: float, most: float
) -> None:
    flat = LINE._replace(gain=1e-9)
    assert Anneal(excess=excess, excess_error=error).share(flat, HOLDS.at()) == most
    assert Anneal(excess=-0.5, excess_error=0.01).share(LINE, HOLDS.at()) == 0.0


def test_trials_that_show_nothing_leave_room_for_the_excess_that_their_noise_may_hide() -> None:
    hidden = [Anneal(excess=-0.005, excess_error=error).share(LINE, HOLDS.at()) for error in (0.001, 0.01, 0.1)]
    assert hidden == sorted(hidden)
    assert hidden[0] < 0.002
    assert hidden[1] == pytest.approx(RHO * 0.00666 * 2.0 / (0.2 * (1501 / TOTAL) ** DECLINE), rel=0.05)


def test_one_flat_stretch_begins_nothing() -> None:
    """The smallest share of the last HOLD of the steps counts: at step 2700 a tenth of the run is left."""
    curve = run(end=2700).watched.curve
    at = HOLDS.knows(curve=curve)
    kept = 2700 * (1 - HOLD)
    for step, share, begins in ((kept + 1, 0.05, False), (kept + 1, 0.11, True), (kept - 1, 0.05, True)):
        _, command = at.learned(shares=((int(step), share),)).check(2700)
        assert (command is not None) is begins


def test_a_run_that_progresses_to_its_end_is_hardly_annealed() -> None:
    commands = run(loss=lambda progress, _: 5 - 3 * progress / TOTAL).commands
    assert all(command.ramp_steps < 0.1 * TOTAL for command in commands)


@pytest.mark.parametrize(
    "context",
    [
        {"decays": True},
        {"base": True},
        {"schedule_moves": True},
        {"learned": False},
        {"may_anneal": False},
        {"total_steps": 0},
    ],
)
def test_nothing_is_annealed_where_it_must_not_be(context: dict[str, Any]) -> None:
    assert run(HOLDS.knows(**context)).commands == []


@pytest.mark.parametrize(
    "start",
    [
        replace(HOLDS, options=replace(AUTO, mode="observe")),
        replace(HOLDS, options=replace(AUTO, max_commands=0)),
        replace(HOLDS, options=replace(AUTO, warmup_steps=TOTAL)),
        replace(HOLDS, options=replace(AUTO, min_scale=1.0)),
        HOLDS.but(quiet_until=TOTAL + 1),
    ],
)
def test_a_limit_keeps_the_line_back(start: Moment) -> None:
    assert run(start).commands == []


def test_a_metric_that_should_rise_is_annealed_alike() -> None:
    falls, rises = run(), run(sign=-1.0)
    assert [(c.step, c.scale, c.ramp_steps) for c in rises.commands] == [
        (c.step, c.scale, c.ramp_steps) for c in falls.commands
    ]


# ---- what becomes of the line -------------------------------------------------------------------------------------------


def test_without_a_length_it_cannot_begin() -> None:
    with pytest.raises(ValueError, match=r"anneal needs the length of the run: give it with \[run\] total_steps"):
        Anneal().begin(100, FRESH.knows(total_steps=0).at())
    known = Anneal(excess=0.1, excess_error=0.01, ends=TOTAL, shares=((1, 0.1),), not_before=9.0)
    assert known.begin(100, FRESH.at()) == Anneal(excess=0.1, excess_error=0.01)


@pytest.mark.parametrize("longer", [2 * TOTAL, TOTAL - 100])
def test_a_corrected_length_continues_the_line_from_where_it_is(longer: int) -> None:
    loop = run(end=TOTAL - 300)
    assert len(loop.commands) == 1
    scale = loop.moment.command.scale
    loop.moment = loop.moment.knows(total_steps=longer)
    loop.until(longer)
    _, corrected = loop.commands
    assert (corrected.scale, corrected.cause) == (scale, "anneal")
    assert corrected.step + corrected.ramp_steps == longer
    assert f"the run has {longer:,} steps, not {TOTAL:,}" in corrected.reason
    assert loop.scales[corrected.step] < loop.scales[corrected.step - 1]
    assert np.all(np.diff(loop.scales[TOTAL - 600 :]) <= 0)
    assert loop.scales[corrected.step - 1] - loop.scales[corrected.step] < 0.01
    assert loop.scales[-1] == pytest.approx(scale)


def test_a_line_that_was_refused_is_asked_for_again() -> None:
    loop = run(end=0)
    loop.until(TOTAL, command=True)
    asked = loop.now
    loop.moment = loop.moment.refused(asked + 50.0)
    assert anneal(loop.moment).ends == 0
    loop.until(TOTAL)
    assert [command.cause for command in loop.commands] == ["anneal", "anneal"]
    assert loop.commands[1].step >= asked + 50
    assert loop.commands[1].step + loop.commands[1].ramp_steps == TOTAL


@pytest.mark.parametrize("event", [Reset(), Joined(2000, 1.0)])
def test_a_line_that_did_not_arrive_is_asked_for_again(event: Any) -> None:
    loop = run(end=0).until(TOTAL, command=True)
    loop.moment = loop.moment.disturbed(event)
    loop.until(TOTAL)
    assert [command.cause for command in loop.commands] == ["anneal", "anneal"]
    assert loop.commands[1].step + loop.commands[1].ramp_steps == TOTAL
    assert loop.scales[-1] < 0.01


def test_a_correction_that_was_refused_is_asked_for_again() -> None:
    loop = run(end=TOTAL - 300)
    loop.moment = loop.moment.knows(total_steps=2 * TOTAL)
    loop.until(2 * TOTAL, command=True)
    loop.moment = loop.moment.refused(loop.now + 50.0)
    loop.until(2 * TOTAL)
    assert len(loop.commands) == 3
    assert loop.commands[2].step + loop.commands[2].ramp_steps == 2 * TOTAL


def test_a_scale_that_an_operator_sets_on_the_line_stays() -> None:
    loop = run(end=TOTAL - 300)
    loop.moment = loop.moment.step(Asked(0.3, by_operator=True)).applied(loop.now + 1, 0.3)
    loop.until(TOTAL)
    assert (len(loop.commands), loop.scales[-1]) == (1, 0.3)


def test_a_refused_trial_says_nothing_of_the_line() -> None:
    on_way = FRESH.learned(ends=TOTAL).but(status=Status.IN_FLIGHT, wanted=0.5, trial=Trial(1.0))
    assert anneal(on_way.refused(100.0)).ends == TOTAL


# ---- trials -------------------------------------------------------------------------------------------------------------


def test_trials_come_while_there_is_time_to_learn_and_hold_little_back() -> None:
    loop = run(FRESH, settling(0.0))
    trials = [command for command in loop.commands if command.cause == "probe"]
    assert trials
    assert all(FIRST_TRIAL * TOTAL <= trial.step < LAST_TRIAL * TOTAL for trial in trials)
    assert anneal(loop.moment).held_back <= RUN_HELD_BACK * TOTAL + 0.01 * TOTAL


@pytest.mark.parametrize(("step", "expected"), [(149, False), (150, True), (1499, True), (1500, False)])
def test_the_first_and_the_last_trial(step: int, expected: bool) -> None:
    assert Anneal().may_try(step, FRESH.at()) is expected


def test_a_trial_that_proves_an_excess_makes_the_line_longer() -> None:
    loop = run(FRESH, settling(1.0))
    line = loop.commands[-1]
    assert [command.cause for command in loop.commands].count("anneal") == 1
    assert line.cause == "anneal"
    assert line.ramp_steps > SLOWED * TOTAL


def outcome(excess: float, error: float, gain: float = 1.0, *, is_over: bool = False) -> TrialOutcome:
    return TrialOutcome(gain, 0.01, excess, error, x=0.05, came=1.0, came_error=0.01, is_over=is_over)


TO_COME = CUT * 0.2 * math.sqrt(1501 / TOTAL)
VERDICTS: list[tuple[TrialOutcome, TrialVerdict | None]] = [
    (outcome(TO_COME + 0.21, 0.1), TrialVerdict(keep=True)),
    (outcome(TO_COME + 0.19, 0.1), None),
    (outcome(TO_COME + 0.21, 0.1, gain=0.01), None),
    (outcome(TO_COME - 0.24, 0.1), None),
    (outcome(TO_COME - 0.26, 0.1), TrialVerdict(keep=False, surely_not=True)),
    (outcome(TO_COME + 0.06, 0.1, is_over=True), TrialVerdict(keep=True)),
    (outcome(TO_COME + 0.04, 0.1, is_over=True), TrialVerdict(keep=False)),
    (outcome(TO_COME + 0.06, 0.1, gain=0.01, is_over=True), TrialVerdict(keep=False)),
    (outcome(TO_COME + 0.01, 0.0), TrialVerdict(keep=True)),
]


@pytest.mark.parametrize(("brought", "verdict"), VERDICTS)
def test_a_cut_stays_only_where_the_rate_is_far_too_high(brought: TrialOutcome, verdict: TrialVerdict | None) -> None:
    assert Anneal().judges(brought, LINE, FRESH.at()) == verdict


# ---- each part of the line, alone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "command", "can_try", "attached", "expected"),
    [
        (Anneal(), CommandState(), False, False, False),
        (Anneal(), CommandState(), False, True, True),
        (Anneal(), CommandState(), True, False, True),
        (Anneal(), CommandState(trial=Trial(1.0)), False, False, True),
        (Anneal(asked=True), CommandState(), False, False, True),
        (Anneal(ends=1), CommandState(), False, False, True),
    ],
)
def test_checks_are_needed_while_a_line_or_a_trial_may_begin_or_is_not_over(
    strategy: Anneal, command: CommandState, can_try: bool, attached: bool, expected: bool
) -> None:
    assert strategy.acts_at_checks(command, can_try=can_try, attached=attached) is expected


def test_what_begins_again_asks_for_a_line_of_its_own() -> None:
    assert Anneal(ends=TOTAL, asked=True, excess=0.1).begin(100, FRESH.at()) == Anneal(excess=0.1)


RESTED = curve_of(np.concatenate([np.full(50, 9.0), np.full(2450, 2.0)]))


def test_a_line_that_is_in_use_is_no_longer_on_its_way() -> None:
    moment, command = HOLDS.knows(curve=RESTED).check(2500)
    assert command is not None
    assert anneal(moment).asked
    after = moment.applied(2501, command.scale)
    assert not anneal(after).asked
    assert after.check(2500) == (after, None)


def test_what_was_dropped_ends_where_the_line_under_way_ends() -> None:
    """A correction that did not arrive: the line before it goes on, to the step at which that ends."""
    moment, command = HOLDS.knows(curve=RESTED).check(2500)
    assert command is not None
    on_line = moment.applied(2501, command.scale)
    asked, correction = on_line.knows(total_steps=2 * TOTAL).check(2500)
    assert correction is not None
    assert (anneal(asked).ends, anneal(asked).asked) == (2 * TOTAL, True)
    dropped = anneal(asked.refused(2600.0))
    assert (dropped.ends, dropped.asked) == (TOTAL, False)


@pytest.mark.parametrize(
    ("ends", "total", "step", "begins"),
    [
        (TOTAL, TOTAL + 1, TOTAL, True),
        (TOTAL, TOTAL - 100, TOTAL - 100, False),
        (TOTAL, TOTAL - 100, TOTAL - 101, True),
        (TOTAL, TOTAL, TOTAL - 100, False),
    ],
)
def test_a_corrected_length_makes_a_new_line_while_a_step_is_left(
    ends: int, total: int, step: int, begins: bool
) -> None:
    on_line = HOLDS.learned(ends=ends).but(scale=0.3).knows(total_steps=total)
    moment, command = on_line.check(step)
    assert (command is not None) is begins
    assert anneal(moment).ends == (total if begins else ends)
    if command is not None:
        assert command.ramp_steps == total - step


@pytest.mark.parametrize("limit", [{"warmup_steps": TOTAL}, {"max_commands": 0}, {"mode": "observe"}])
def test_a_limit_keeps_a_corrected_line_back(limit: dict[str, Any]) -> None:
    on_line = replace(HOLDS.learned(ends=TOTAL).but(scale=0.3), options=replace(AUTO, **limit)).knows(
        total_steps=2 * TOTAL
    )
    assert on_line.check(TOTAL - 100) == (on_line, None)


def test_the_last_step_of_a_run_may_still_be_annealed_and_none_behind_it() -> None:
    due = HOLDS.knows(curve=RESTED, total_steps=2501)
    _, command = due.check(2500)
    assert command is not None
    assert command.ramp_steps == 1
    ended = due.knows(total_steps=2500)
    assert ended.check(2500) == (ended, None)


def test_a_check_without_a_line_through_the_values_begins_nothing() -> None:
    sparse = HOLDS.knows(curve=curve_of(np.full(10, 2.0), np.arange(250, 2750, 250)))
    moment, command = sparse.check(2500)
    assert (anneal(moment).shares, command) == (((2500, 0.0),), None)


@pytest.mark.parametrize(("step", "begins"), [(int(EARLIEST * TOTAL), True), (int(EARLIEST * TOTAL) - 1, False)])
def test_no_line_begins_before_a_share_of_the_run(step: int, begins: bool) -> None:
    early = int((1 - HOLD) * EARLIEST * TOTAL) - 1
    young, _ = HOLDS.knows(curve=curve_of(np.full(early, 2.0))).check(early)
    assert anneal(young).shares == (), "nor is one thought of"
    flat = curve_of(np.concatenate([np.full(50, 9.0), np.full(step - 50, 2.0)]))
    known = HOLDS.knows(curve=flat, total_steps=TOTAL).learned(excess=0.5, excess_error=0.001)
    moment, command = known.check(step)
    assert (command is not None) is begins
    assert anneal(moment).shares == ((step, LONGEST_SHARE),), "it is known all the same"


def test_the_shares_of_the_last_checks_are_remembered_and_one_of_this_step_is_replaced() -> None:
    step = 1000
    oldest = int((1 - HOLD) * step)
    known = HOLDS.knows(curve=curve_of(np.linspace(9.0, 2.0, step)))
    moment, _ = known.learned(shares=((oldest - 1, 0.3), (oldest, 0.2), (999, 0.1), (step, 0.7))).check(step)
    assert [at for at, _ in anneal(moment).shares] == [oldest, 999, step]
    assert anneal(moment).shares[-1][1] < 0.7


def test_while_a_trial_is_compared_the_line_may_begin() -> None:
    compared = Reversal(0.5, 1.0, 2200, 50, LINE, outcome(0.4, 0.02), back_at=2300)
    for step in (2349, 2351):  # before the comparison, and where it is not sure
        curve = curve_of(np.concatenate([np.full(50, 9.0), np.full(step - 50, 2.0)]))
        _, command = HOLDS.learned(reversal=compared).knows(curve=curve).check(step)
        assert command is not None
        assert (command.cause, command.ramp_steps) == ("anneal", TOTAL - step)


def test_at_a_lower_scale_less_excess_is_guessed() -> None:
    shares = [Anneal().share(LINE, HOLDS.but(scale=scale).at()) for scale in (1.0, 0.5)]
    assert shares[0] == UNPROVEN
    assert Anneal().share(LINE._replace(gain=2.0), HOLDS.but(scale=0.5).at()) == pytest.approx(
        Anneal().share(LINE._replace(gain=2.0), HOLDS.at()) / 2
    )


def test_the_reason_says_how_long_the_line_is_and_how_long_it_might_be() -> None:
    _, command = HOLDS.knows(curve=RESTED).check(2500)
    assert command is not None
    assert "over the last 17 % of the run; a decay of up to 50 % of the run is worth it" in command.reason


def test_the_error_of_the_gain_to_come_keeps_a_cut_back() -> None:
    """An excess that is surely above a gain that is known, and not above one that is known to 0.2 an e-fold."""
    unsure = LINE._replace(gain_variance=0.2**2)
    far = outcome(TO_COME + 0.5, 0.1)
    assert Anneal().judges(far, LINE, FRESH.at()) == TrialVerdict(keep=True)
    assert Anneal().judges(far, unsure, FRESH.at()) is None
    error = math.hypot(0.1, CUT * 0.2 * (1501 / TOTAL) ** DECLINE)
    for more, verdict in ((2.01, TrialVerdict(keep=True)), (1.99, None)):
        assert Anneal().judges(outcome(TO_COME + more * error, 0.1), unsure, FRESH.at()) == verdict


# ---- state --------------------------------------------------------------------------------------------------------------


def test_it_survives_a_restart_in_every_state() -> None:
    loop = ClosedLoop(FRESH, settling(0.3))
    seen = set()
    while loop.now < TOTAL:
        loop.until(min(loop.now + 10, TOTAL))
        strategy = anneal(loop.moment)
        assert Anneal.from_state(json.loads(json.dumps(strategy.state()))) == strategy
        seen.add((loop.moment.command.status, strategy.line is not None, strategy.ends > 0))
    assert {(Status.IDLE, False, False), (Status.ON_TRIAL, True, False), (Status.IDLE, False, True)} <= seen
    assert anneal(loop.moment).shares


def test_a_trial_that_was_taken_back_does_not_hold_up_the_line() -> None:
    """Its next trial would come behind the end of the run; the line is due long before."""
    on_trial = FRESH.but(status=Status.ON_TRIAL, scale=0.5, trial=Trial(1.0), count=1, applied_at=TOTAL // 2 - 100)
    moment, back = on_trial.knows(curve=curve_of(np.full(TOTAL // 2, 2.0))).check(TOTAL // 2)
    assert back is not None
    assert back.cause == "restore"
    assert moment.command.quiet_until == TOTAL // 2
    assert anneal(moment).not_before > TOTAL // 2
    loop = run(FRESH, settling(0.0), noise=0.3, seed=3)
    assert [command.cause for command in loop.commands][-1] == "anneal"
