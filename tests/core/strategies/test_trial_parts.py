"""Each part of the life of a trial, alone: its line, its proof, its way back, and the comparison after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.strategies import ClosedLoop, Moment, curve_of
from support.trials import CUT, FRESH, Tries, noise, on_trial, options, outcome, settling, tries

from lrwatch.core.command import (
    Asked,
    CommandState,
    LevelShifted,
    Status,
    Trial,
    TrialKept,
)
from lrwatch.core.curve import Curve
from lrwatch.core.stats.log_line import LogLine, fit
from lrwatch.core.strategies.trial_outcome import Reversal, measure
from lrwatch.core.strategies.trials import (
    AFTER_KEPT,
    AGAIN,
    WINDOW,
)

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
    assert decision.strategy == replace(tries(over), reversal=None)
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
