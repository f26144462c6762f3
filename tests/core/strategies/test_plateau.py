"""The plateau strategy: which curves are tried, which trials stay, and what is proposed where nothing can be tried.

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

from lrwatch.core.command import CommandState, Status, Trial
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Effect, Finding
from lrwatch.core.options import PolicyOptions
from lrwatch.core.stats.log_line import LogLine, fit
from lrwatch.core.strategies.plateau import EXCESS_PER_GAIN, FLAT, GAINED, LONG_WINDOW, Plateau
from lrwatch.core.strategies.trial_outcome import KEEP, SURELY, TrialOutcome, TrialVerdict
from lrwatch.core.strategies.trials import (
    AFTER_KEPT,
    AGAIN,
    AGAIN_LATER,
    ONE_SIDED_95,
    WINDOW,
)

AUTO = PolicyOptions(mode="auto")
STEPS = np.arange(1, 5001)
RESTS = curve_of(2 + 3 * np.exp(-STEPS / 100) + 0.002 * np.random.default_rng(0).standard_normal(5000))
# Nothing can be tried: no trainer listens, or an operator decides.
FRESH = Moment(Plateau(), AUTO, context={"curve": RESTS})
TRIES = Moment(Plateau(), AUTO, context={"can_try": True})
MOVES = {"schedule_moves": True}
# A cut from 1 to 0.5 that is in use and has no verdict yet.
CUT: dict[str, Any] = {"status": Status.ON_TRIAL, "scale": 0.5, "trial": Trial(1.0)}


def options(**changes: Any) -> Moment:
    return replace(FRESH, options=replace(AUTO, **changes))


def plateau(moment: Moment) -> Plateau:
    assert isinstance(moment.strategy, Plateau)
    return moment.strategy


# ---- which curves are tried -------------------------------------------------------------------------------------------


def tried(loss: Any, n: int = 2000, noise: float = 0.005, seed: int = 0, **context: Any) -> bool:
    """Whether a curve, a function of the steps, leads to a trial at its end."""
    steps = np.arange(1, n + 1)
    values = loss(steps) + noise * np.random.default_rng(seed).standard_normal(n)
    _, command = TRIES.knows(curve=curve_of(values), **context).check(n)
    return command is not None


def slowing(gain: float, gained: float = 5.0, level: float = 3.0) -> Any:
    """Falls by `gained` at once, and then by `gain` per e-fold of steps, to `level` at step 2000."""
    return lambda steps: level + gained * np.exp(-steps / 100) + gain * np.log(2000 / steps)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (slowing(0.0), True),
        (slowing(0.3), True),
        (slowing(1.1 * FLAT * 3), False),  # steep, by its level
        (slowing(0.9 * FLAT * 3, gained=9.0), True),
        (slowing(0.3, gained=0.2), True),  # the fall over ln(2000) counts, too
        (lambda steps: 8 - 0.4 * np.log(steps) - 0.003 * steps, False),  # it speeds up
        (lambda steps: 3.0 + 0.1 * (steps < 20) + 0.1 * np.log(2000 / steps), True),
        (lambda steps: 3.0 + 2.0 * (1 - steps / 2000), False),  # straight over the steps
        (lambda steps: 3.0 + 5.0 * (steps + 1.0) ** -0.5, True),
        (lambda steps: 1.0 + 30.0 * (steps + 100.0) ** -0.5, False),  # it has hardly begun to bend
        (lambda steps: 3.0 + 0.2 * np.log(steps), False),  # it rises
    ],
)
def test_a_trial_begins_where_the_run_has_slowed_down(loss: Any, expected: bool) -> None:
    assert tried(loss) is expected


@pytest.mark.parametrize("gained", [0.7, 1.4])
def test_the_run_must_have_gained_gained_times_as_much(gained: float) -> None:
    """A run that has fallen by GAINED times the gain per e-fold, or by a little more or less."""
    gain = 0.1
    drop = gained * GAINED * gain

    end = 1000  # the drop lies before the longer window, which begins at a quarter; since then it fell by 0.12
    steps = np.arange(1, end + 1)
    values = np.where(steps <= 200, 3.0 + drop, 3.0 + gain * np.log(end / steps)) + 0.002 * np.random.default_rng(
        0
    ).standard_normal(end)
    _, command = TRIES.knows(curve=curve_of(values)).check(end)
    assert (command is not None) is (gained > 1)


def test_a_flat_stretch_within_an_epoch_is_no_plateau() -> None:
    """A loss that falls at the ends of epochs of 600 steps, and rests between them."""
    assert not tried(lambda steps: 5 - 0.8 * ((steps - 1) // 600), n=1790)
    assert tried(lambda steps: 5 - 0.8 * ((steps - 1) // 300 > 0), n=1790)


@pytest.mark.parametrize(("n", "errors"), [(199, ONE_SIDED_95), (200, 1.0)])
def test_a_run_of_few_values_must_be_surely_flat(n: int, errors: float) -> None:
    curve = curve_of(2 + 0.5 * np.random.default_rng(0).standard_normal(n))
    lines = [fit(curve, share * n, n + 1) for share in (WINDOW, LONG_WINDOW)]
    expected = max(line.gain + errors * line.gain_error for line in lines if line is not None)
    assert lines[0] is not None
    assert Plateau()._most_gained(lines[0], n, TRIES.knows(curve=curve).at()) == expected


def test_a_level_of_nothing_is_no_plateau_and_no_error() -> None:
    assert not tried(lambda steps: 0.0 * steps, noise=0.0)


def test_a_reason_says_how_the_run_improves() -> None:
    values = slowing(0.03)(np.arange(1, 2001))
    _, command = TRIES.knows(curve=curve_of(values)).check(2000)
    assert command is not None
    assert command.reason.startswith(
        "the run has slowed down: while its steps double, the metric improves by 0.698 % \u00b1 "
    )
    assert "and what a lower rate would bring is not known; scale 0.5 is tried" in command.reason


# ---- which trials stay ------------------------------------------------------------------------------------------------


def settling(floor: float, gain: float = 0.0) -> Loss:
    """A run that settles, falls by `gain` per e-fold of progress, and that the rate holds up by `floor` times the scale."""
    return lambda progress, scale: 2 + 3 * np.exp(-progress / 150) - gain * np.log(progress / 4000) + floor * scale


def run(loss: Loss, end: int = 4000, **changes: Any) -> ClosedLoop:
    return ClosedLoop(replace(TRIES, **changes), loss).until(end)


def test_a_rate_that_holds_the_loss_up_is_cut_until_a_cut_brings_nothing() -> None:
    loop = run(settling(0.5), end=8000)
    cuts = [command for command in loop.commands if command.cause == "plateau"]
    assert [command.scale for command in cuts] == [0.5**n for n in range(1, len(cuts) + 1)]
    assert loop.scales[-1] <= 0.25
    for cut in cuts:  # each was tried, given back, and came again
        before = [command for command in loop.commands if command.step < cut.step][-2:]
        assert [(one.cause, one.scale) for one in before] == [("probe", cut.scale), ("restore", 2 * cut.scale)]
        assert f"the metric was better at scale {cut.scale:g} and got worse when the rate went back" in cut.reason
        after = [command for command in loop.commands if command.step > cut.step]
        assert not after or after[0].step >= AFTER_KEPT * cut.step
    helped = [effect for effect in loop.effects if effect.verdict == "helped"]
    assert [effect.scale for effect in helped] == [cut.scale for cut in cuts]


def test_a_rate_that_does_no_harm_is_tried_a_few_times_and_never_cut_for_good() -> None:
    loop = run(settling(0.0), end=10_000)
    assert [command.cause for command in loop.commands] == ["probe", "restore"] * (len(loop.commands) // 2)
    assert loop.scales[-1] == 1.0
    assert 1 <= len(loop.effects) <= 5
    assert not any(effect.verdict == "helped" for effect in loop.effects)


def test_an_excess_that_is_proven_and_smaller_than_what_a_cut_costs_is_given_back() -> None:
    loop = run(settling(0.03, gain=0.2), end=6000)
    assert [command.cause for command in loop.commands[:2]] == ["probe", "restore"]
    assert loop.scales[-1] == 1.0
    first = loop.commands[1]
    assert loop.commands[2].step >= AGAIN * first.step if len(loop.commands) > 2 else True


GENTLE = LogLine(500.0, 1001, level=2.0, level_variance=1e-4, gain=0.1, gain_variance=0.0, noise=0.0)


def outcome(excess: float, gain: float = 1.0, error: float = 0.01, *, is_over: bool = False) -> TrialOutcome:
    return TrialOutcome(gain, error, excess, 2 * error, x=0.06, came=2.0 - gain, came_error=0.001, is_over=is_over)


COSTS = EXCESS_PER_GAIN * 0.1
# An error of the gain of 0.01 is one of the excess of 0.02: half of the scale was missing.
VERDICTS: list[tuple[TrialOutcome, TrialVerdict | None]] = [
    (outcome(COSTS + 0.041), TrialVerdict(keep=True)),
    (outcome(COSTS + 0.039), None),
    (outcome(COSTS - 0.049), None),
    (outcome(COSTS - 0.051), TrialVerdict(keep=False, surely_not=True)),
    (outcome(COSTS + 1.0, gain=0.019), None),  # it cannot be told from nothing
    (outcome(COSTS + (KEEP + 0.1) * 0.02, is_over=True), TrialVerdict(keep=True)),
    (outcome(COSTS + (KEEP - 0.1) * 0.02, is_over=True), TrialVerdict(keep=False)),
    (outcome(COSTS + 1.0, gain=0.019, is_over=True), TrialVerdict(keep=False)),
    (outcome(COSTS + 1.0, gain=-0.1, is_over=True), TrialVerdict(keep=False)),
    (outcome(COSTS + 0.001, error=0.0), TrialVerdict(keep=True)),
    (outcome(COSTS - 0.001, error=0.0), TrialVerdict(keep=False, surely_not=True)),
]


@pytest.mark.parametrize(("brought", "verdict"), VERDICTS)
def test_a_trial_stays_where_its_excess_is_worth_the_progress_that_it_costs(
    brought: TrialOutcome, verdict: TrialVerdict | None
) -> None:
    assert Plateau().judges(brought, GENTLE, TRIES.at()) == verdict


def test_a_loss_that_rises_has_no_progress_to_lose() -> None:
    rises = GENTLE._replace(gain=-5.0)
    assert Plateau().judges(outcome(0.041), rises, TRIES.at()) == TrialVerdict(keep=True)
    assert Plateau().judges(outcome(0.041, gain=-0.1, is_over=True), rises, TRIES.at()) == TrialVerdict(keep=False)


def test_what_surely_brought_too_little_comes_later_again() -> None:
    loop = ClosedLoop(TRIES, settling(0.0, gain=0.25), noise=0.002).until(8000)
    _, back, *more = loop.commands
    assert plateau(loop.moment).not_before >= AGAIN_LATER * back.step
    assert all(command.step >= AGAIN_LATER * back.step for command in more)


# ---- proposals where nothing can be tried -------------------------------------------------------------------------------


def trend(step: int = 5000, upper: float = 0.004, level: float = 2.0) -> Trend:
    """A look: going on brings half of `upper` of the level per 500 steps, surely less than `upper`."""
    return Trend(
        step=step, state="plateau", horizon=500.0, level=level, improvement=upper * level / 2, lower=-1.0,
        improvement_now=upper * level / 2, upper=upper * level * 1.5, upper_now=upper * level, end=level, end_error=0.001, per_step=-1e-6,
        per_step_error=1e-7, samples=step,
    )  # fmt: skip


def scale(moment: Moment, look: Trend) -> float | None:
    after, command = moment.look(look)
    assert (command is None) == (after == moment)
    return None if command is None else command.scale


def test_a_plateau_is_answered_with_a_cut_on_trial() -> None:
    after, command = FRESH.look(trend())
    assert command is not None
    assert (command.step, command.scale, command.cause) == (5000, 0.5, "plateau")
    assert command.reason == (
        "the metric improves by 0.2 % per 500 steps, surely by less than 0.4 %; 0.5 % is required to keep this rate. "
        "The cut is a trial: it is taken back unless it is proven"
    )
    assert after.command == CommandState(Status.IN_FLIGHT, wanted=0.5, trial=Trial(1.0), count=1, log_ratio=0.5)


def test_a_metric_that_seems_to_rise_is_not_said_to_improve() -> None:
    """An improvement below 0 is none, in words too."""
    rises = replace(trend(upper=0.0022), improvement_now=-0.017 * 2.0)
    surely = replace(trend(upper=-0.05), improvement_now=-0.1 * 2.0)
    for look, words in (
        (rises, "gets worse by 1.7 % per 500 steps, and surely improves by less than 0.22 %;"),
        (surely, "gets worse by 10 % per 500 steps, surely by more than 5 %;"),
    ):
        _, command = FRESH.look(look)
        assert command is not None
        assert command.reason.startswith(f"the metric {words} 0.5 % is required")


@pytest.mark.parametrize(("upper", "expected"), [(0.0049, 0.5), (0.005, None), (0.1, None), (-0.1, 0.5)])
def test_a_cut_is_proposed_when_continuing_brings_surely_less_than_first_cut(
    upper: float, expected: float | None
) -> None:
    assert scale(FRESH, trend(upper=upper)) == expected


LIMITS: dict[str, Moment] = {
    "observing": options(mode="observe"),
    "a command in flight": FRESH.but(status=Status.IN_FLIGHT, wanted=0.5),
    "the budget": FRESH.but(count=40),
    "no budget for the way back": FRESH.but(count=39),
    "a budget of none": options(max_commands=0),
    "the warmup": options(warmup_steps=5001),
    "quiet after a rejection": FRESH.but(quiet_until=5000.5),
    "the cooldown": FRESH.but(applied_at=3751),
    "a longer cooldown": options(cooldown=4.0).but(applied_at=3001),
    "the smallest scale": FRESH.but(scale=0.001),
    "a schedule that moves": FRESH.knows(**MOVES),
    "no progress yet": FRESH.knows(learned=False),
    "a trial without a verdict": FRESH.but(**CUT, applied_at=1000),
    "a trial that came to nothing": FRESH.learned(not_before=5000.5),
    "something can be tried": TRIES.knows(curve=RESTS),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_each_limit_alone_keeps_a_cut_back(limit: str) -> None:
    assert scale(LIMITS[limit], trend()) is None


@pytest.mark.parametrize(
    "moment",
    [
        FRESH.but(count=38),
        options(warmup_steps=5000),
        FRESH.but(quiet_until=5000.0),
        FRESH.but(applied_at=3750),
        FRESH.learned(not_before=5000.0),
        replace(FRESH, options=PolicyOptions(mode="suggest")),
        replace(FRESH, options=PolicyOptions(mode="approve")),
    ],
)
def test_just_outside_a_limit_the_cut_is_proposed(moment: Moment) -> None:
    assert scale(moment, trend()) == 0.5


@pytest.mark.parametrize(
    ("now", "moment", "expected"),
    [
        (0.0015, FRESH, 0.001),
        (1.0, options(factor=0.1), 0.1),
        (1.0, options(min_scale=0.7), 0.7),
        (5.0, FRESH, None),  # there is no way back above the largest scale
        (1.0, options(min_scale=1.0), None),
    ],
)
def test_a_cut_is_the_factor_within_the_bounds(now: float, moment: Moment, expected: float | None) -> None:
    assert scale(moment.but(scale=now), trend()) == expected


@pytest.mark.parametrize("level", [0.0, 5e-324])
def test_a_level_of_nothing_is_no_error(level: float) -> None:
    look = replace(trend(), level=level, upper_now=0.0, upper=0.0, improvement=0.0)
    assert scale(FRESH, look) == 0.5
    assert scale(FRESH, replace(look, upper_now=1.0)) is None


def test_only_a_look_that_may_be_a_proposal_is_asked_for() -> None:
    assert Plateau().threshold(FRESH.at()) == AUTO.first_cut
    assert Plateau().threshold(TRIES.at()) == -math.inf
    assert Plateau().threshold(FRESH.but(count=40).at()) == -math.inf


@pytest.mark.parametrize("floor", [0.5, 0.0])
def test_a_proposal_that_somebody_applies_is_judged_by_the_curve(floor: float) -> None:
    loop = ClosedLoop(FRESH, settling(floor)).until(8000)
    assert loop.commands == []
    loop.moment, command = loop.moment.look(trend(8000))
    assert command is not None
    loop.until(9500)
    assert [back.cause for back in loop.commands] == ([] if floor else ["restore"])
    assert [effect.verdict == "helped" for effect in loop.effects] == [floor > 0]
    assert loop.moment.command.scale == (0.5 if floor else 1.0)


def test_a_measured_effect_is_no_verdict_on_a_cut() -> None:
    effect = Effect(step=6000, scale=0.5, gain=-0.5, lower=-0.6, upper=-0.4, message="")
    after = FRESH.but(**CUT, applied_at=5000).measured(effect)
    assert (after.command.status, after.strategy) == (Status.ON_TRIAL, Plateau())


# ---- findings -----------------------------------------------------------------------------------------------------------


def test_overfitting_is_answered_with_leave_alone_and_the_cut_is_no_trial() -> None:
    finding = Finding("overfitting", "val_loss", 5000, {}, "it overfits")
    assert FRESH.found(finding) == (FRESH, None)
    after, command = options(overfitting="cut").found(finding)
    assert command is not None
    assert (command.scale, command.cause, after.command.trial) == (0.5, "overfitting", None)
    assert options(overfitting="cut", warmup_steps=5001).found(finding)[1] is None


@pytest.mark.parametrize(
    ("setting", "max_scale", "expected"),
    [("advise", 1.0, False), ("advise", 1.5, True), ("cut", 1.0, True), ("cut", 1.5, True)],
)
def test_findings_may_lead_to_commands_only_by_leave(setting: Any, max_scale: float, expected: bool) -> None:
    moment = options(overfitting=setting, max_scale=max_scale)
    assert plateau(moment).acts_between_looks(moment.at()) is expected


def test_the_answer_to_overfitting_is_a_command_with_its_reason_and_none_at_the_smallest_scale() -> None:
    finding = Finding("overfitting", "val_loss", 5000, {}, "it overfits")
    permitted = options(overfitting="cut").learned(since=3.0)
    after, command = permitted.found(finding)
    assert command is not None
    assert (command.step, command.reason) == (5000, "it overfits; scale 0.5 slows that down")
    assert (after.command.wanted, after.strategy) == (0.5, permitted.strategy)
    smallest = permitted.but(scale=0.001)
    assert smallest.found(finding) == (smallest, None)


@pytest.mark.parametrize(("asked", "again"), [(0.5, False), (0.6, True)])
def test_a_proposal_that_nobody_answered_is_not_repeated_and_gives_way_to_another(asked: float, again: bool) -> None:
    waits = options(mode="suggest", overfitting="cut").but(status=Status.IN_FLIGHT, wanted=asked)
    assert (waits.look(trend())[1] is not None) is again
    assert (waits.found(Finding("overfitting", "val_loss", 5000, {}, "it overfits"))[1] is not None) is again


def test_another_loss_agrees_with_a_proposal_by_the_same_bound() -> None:
    assert Plateau().look(trend(), FRESH.at()).agree_below == AUTO.first_cut


def test_a_refusal_puts_off_trials_upwards_unless_one_is_being_taken_back() -> None:
    assert plateau(FRESH.refused(200.0)).no_increase_before == 200.0
    assert plateau(FRESH.learned(no_increase_before=300.0).refused(200.0)).no_increase_before == 300.0
    way_down = FRESH.but(status=Status.TAKING_BACK, scale=1.5, trial=Trial(1.0))
    assert plateau(way_down.refused(200.0)).no_increase_before == 0.0
    way_up = FRESH.but(status=Status.TAKING_BACK, scale=0.5, trial=Trial(1.0))
    assert plateau(way_up.refused(200.0)).no_increase_before == 200.0


# ---- what is known of the gain ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gain", "proposed"), [(0.0, True), (0.085, True), (0.105, False)])
def test_a_cut_is_proposed_where_the_long_windows_show_less_than_first_cut_as_well(gain: float, proposed: bool) -> None:
    """At level 2 and a horizon of a tenth, 0.5 % per horizon are 0.095 per e-fold."""
    curve = curve_of(2 + 3 * np.exp(-STEPS / 100) + gain * np.log(5000 / STEPS))
    assert (scale(FRESH.knows(curve=curve), trend()) is not None) is proposed


@pytest.mark.parametrize(
    "moment",
    [
        FRESH.knows(curve=curve_of(2 + 0.002 * np.random.default_rng(0).standard_normal(5000))),  # it has not gained
        FRESH.knows(curve=curve_of(np.full(5, 2.0), np.arange(1000, 6000, 1000))),  # too few values for a line
        FRESH.learned(since=4950.0),  # too few since the scale changed
    ],
)
def test_a_run_that_is_not_known_to_have_slowed_down_is_left_as_it_is(moment: Moment) -> None:
    assert scale(moment, trend()) is None


def test_a_run_as_young_as_a_horizon_is_left_as_it_is() -> None:
    assert scale(FRESH, replace(trend(), horizon=5000.0)) is None


def test_the_gain_is_that_up_to_the_step_and_of_less_is_better() -> None:
    steps = np.arange(1, 401)
    curve = curve_of(2 + np.log(steps) + 0.1 * np.random.default_rng(0).standard_normal(400))
    line, longer = (fit(curve, share * 300, 301, -1.0) for share in (WINDOW, LONG_WINDOW))
    assert line is not None
    assert longer is not None
    at = TRIES.knows(curve=curve, sign=-1.0).at()
    for gain in (line.gain, line.gain - 1.0):  # the longer window has the larger one, too
        expected = max(gain + line.gain_error, longer.gain + longer.gain_error)
        assert Plateau()._most_gained(line._replace(gain=gain), 300, at) == expected


@pytest.mark.parametrize("begins", [0, 5000])
def test_what_a_run_has_gained_counts_from_its_first_values_wherever_its_log_begins(begins: int) -> None:
    values = np.concatenate([np.full(5, 4.0), np.full(395, 2.5)])
    at = TRIES.knows(curve=curve_of(values, begins + np.arange(1, 401))).at()
    assert Plateau()._gained(GENTLE._replace(step=begins + 401), at) == 2.0


def test_a_run_whose_first_values_are_not_finite_has_gained_nothing_that_is_known() -> None:
    values = np.concatenate([np.full(20, math.nan), np.full(380, 1.0)])
    assert Plateau()._gained(GENTLE._replace(step=401), TRIES.knows(curve=curve_of(values)).at()) == 0.0


def test_a_gain_that_is_hardly_known_makes_the_worth_of_a_cut_uncertain() -> None:
    """At a factor of a quarter; the error that gain and excess have in common counts once."""
    unsure = GENTLE._replace(gain_variance=0.4**2)
    at = replace(TRIES, options=replace(AUTO, factor=0.25)).at()
    error = math.hypot(math.sqrt(0.05**2 - (0.06 * 0.4) ** 2) / 0.75, (0.25 * 0.06 / 0.75 + EXCESS_PER_GAIN) * 0.4)
    for errors, verdict in ((SURELY + 0.001, TrialVerdict(keep=True)), (SURELY - 0.001, None)):
        assert Plateau().judges(outcome(COSTS + errors * error, error=0.05), unsure, at) == verdict


# ---- state and settings -------------------------------------------------------------------------------------------------


def test_a_strategy_survives_a_restart() -> None:
    known = Plateau(
        line=GENTLE, since=3.0, excess=0.1, excess_error=0.01, held_back=4.0, not_before=5.0, no_increase_before=6.0
    )
    assert Plateau.from_state(json.loads(json.dumps(known.state()))) == known
    assert Plateau.from_state(json.loads(json.dumps(Plateau().state()))) == Plateau()


def test_what_is_known_of_the_excess_outlives_another_strategy() -> None:
    known = Plateau(excess=0.1, excess_error=0.01, held_back=4.0, not_before=5.0, no_increase_before=6.0)
    assert known.begin(5000, FRESH.at()) == replace(known, not_before=0.0, no_increase_before=0.0)


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
