"""What a trial has brought: the numbers of a comparison, its verdict, and what people are told of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.strategies import Moment, curve_of

from lrwatch.core.command import CommandState
from lrwatch.core.effect import Z95
from lrwatch.core.events import Counterfactual
from lrwatch.core.options import PolicyOptions
from lrwatch.core.sample import Floats
from lrwatch.core.stats.log_line import LogLine
from lrwatch.core.stats.student import t_quantile
from lrwatch.core.strategies.base import Context
from lrwatch.core.strategies.observe import Observe
from lrwatch.core.strategies.trial_outcome import (
    KEEP,
    MIN_VALUES,
    PLENTY,
    SURELY,
    SURELY_NOT,
    TRANSIENT,
    Reversal,
    TrialOutcome,
    TrialVerdict,
    effect_of,
    effect_of_reversal,
    measure,
    needed,
    settled_level,
)

# Level 2 known to 0.03, falling by 0.5 an e-fold known to 0.4, and a noise of 0.1 a value.
LINE = LogLine(500.0, 1001, level=2.0, level_variance=0.03**2, gain=0.5, gain_variance=0.4**2, noise=0.1**2)
OUTCOME = TrialOutcome(
    gain=0.2, gain_error=0.05, excess=0.4, excess_error=0.1, x=0.05, came=1.7, came_error=0.03, needed=3.0
)


def at(values: Floats, *, scale: float = 0.5, sign: float = 1.0, epoch_steps: int = 0) -> Context:
    """What is known at the end of a curve of these values, from step 1 on."""
    context = {"curve": curve_of(values), "sign": sign, "epoch_steps": epoch_steps}
    return Moment(Observe(), PolicyOptions(), CommandState(scale=scale), context).at()


# ---- the comparison -----------------------------------------------------------------------------------------------------


def test_the_level_is_the_mean_of_what_came_after_the_transient_up_to_the_last_step() -> None:
    values = np.concatenate([np.full(200, 9.0), np.full(25, 5.0), np.full(74, 2.0), [9.5]])
    level = settled_level(at(values), 201, 300, noise=0.01)
    assert level is not None
    assert level.skipped == TRANSIENT * 99
    assert level.mean == pytest.approx((74 * 2.0 + 9.5) / 75)
    assert level.variance == pytest.approx(np.var(values[225:], ddof=1) / 75, rel=0.1), "its scatter is above the noise"
    calm = settled_level(at(np.full(300, 2.0), sign=-1.0), 201, 300, noise=0.01)
    assert calm is not None
    assert (calm.mean, calm.variance) == pytest.approx((-2.0, 0.01 / 75))


def test_min_values_are_enough_for_a_level_and_one_less_is_not() -> None:
    context = at(np.full(300, 2.0))
    assert settled_level(context, 300 - MIN_VALUES, 300, 0.0) is not None
    assert settled_level(context, 301 - MIN_VALUES, 300, 0.0) is None


@pytest.mark.parametrize(("lasted", "compared"), [(140, 100), (270, 200), (99, 0)])
def test_where_the_data_come_again_whole_epochs_are_compared(lasted: int, compared: int) -> None:
    """The newest ones; where the time after the transient holds none, nothing is left to compare but the last step."""
    level = settled_level(at(np.full(201 + lasted, 2.0), epoch_steps=100), 201, 201 + lasted, 0.0)
    assert (None if level is None else lasted - level.skipped) == (compared or None)


def test_the_errors_of_gain_and_excess_hold_that_of_the_line_continued() -> None:
    share = 0.25
    outcome = measure(LINE, at(np.full(1400, 1.5)), 1001, 1400, share)
    assert outcome is not None
    came = 0.1**2 / 300
    assert outcome.came_error == pytest.approx(math.sqrt(came), rel=0.01)
    assert outcome.gain_error == pytest.approx(math.sqrt(0.03**2 + came + (outcome.x * 0.4) ** 2), rel=1e-3)
    assert outcome.excess_error == pytest.approx(
        math.sqrt(0.03**2 + came + (share * outcome.x * 0.4) ** 2) / (1 - share), rel=1e-3
    )


# ---- the verdict --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("z", "is_over", "expected"),
    [
        (SURELY_NOT, False, TrialVerdict(keep=False, surely_not=True)),
        (SURELY_NOT + 0.1, False, None),
        (SURELY - 0.1, False, None),
        (SURELY, False, TrialVerdict(keep=True)),
        (KEEP, True, TrialVerdict(keep=False)),
        (KEEP + 0.1, True, TrialVerdict(keep=True)),
    ],
)
def test_a_verdict_comes_as_soon_as_it_is_sure_and_at_the_latest_when_the_time_is_over(
    z: float, is_over: bool, expected: TrialVerdict | None
) -> None:
    assert OUTCOME._replace(is_over=is_over).verdict(z, 1.0) == expected


def test_a_young_run_needs_more_for_a_proof() -> None:
    assert needed(0.01, PLENTY, 58) == needed(0.01, 100 * PLENTY, 58) == t_quantile(0.01, 58)
    assert needed(0.01, PLENTY // 10, 58) == t_quantile(0.001, 58)
    assert needed(0.01, PLENTY, 0) == needed(0.01, PLENTY, 1) == t_quantile(0.01, 1), "least of all is known with one"


# ---- the way back -------------------------------------------------------------------------------------------------------

BACK = Reversal(0.5, 1.0, 201, 100, LINE._replace(step=201), OUTCOME, back_at=301)


def test_the_time_in_the_trial_is_compared_with_the_time_after_it_each_to_its_last_step() -> None:
    low, high = np.full(100, 1.5), np.full(100, 1.8)
    low[-1], high[0] = 1.2, 9.0  # the last step of the trial, and one of the transient after it
    measured = BACK.measured(at(np.concatenate([np.full(200, 2.0), low, high])), 400)
    assert measured.came == pytest.approx((74 * 1.5 + 1.2) / 75)
    assert measured.rise == pytest.approx(1.8 - measured.came)
    assert measured.came_error == pytest.approx(0.1 / math.sqrt(75))
    assert measured.rise_error == pytest.approx(0.1 * math.sqrt(2 / 75))


def test_while_too_few_values_came_on_either_side_nothing_is_said() -> None:
    context = at(np.full(400, 2.0))
    assert BACK.measured(context, 303) == BACK
    short = BACK._replace(applied_at=299)
    assert short.measured(context, 400) == short
    away = BACK._replace(back_at=None)
    assert away.measured(context, 400) == away


# ---- what people are told -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_effect_is_relative_to_the_level_before_with_the_bounds_of_a_proof(sign: float) -> None:
    effect = effect_of(OUTCOME, LINE, 1100, at(np.full(1100, 2.0), sign=sign))
    assert (effect.step, effect.scale) == (1100, 0.5)
    assert (effect.gain, effect.lower, effect.upper) == pytest.approx((0.1, 0.025, 0.175))
    assert effect.message == (
        f"after 100 steps at scale 0.5: {sign * 1.7:.4g} instead of {sign * 1.9:.4g} at the old rate; "
        "helped: 10.0 % better (2.5 to 17.5 %)"
    )
    assert effect.line is not None
    expected = (1001, sign * 2.0, 0.03, sign * 1.9, 0.04, sign * 1.7, 0.03)
    assert [getattr(effect.line, name) for name in Counterfactual.__slots__] == pytest.approx(list(expected))


def test_the_bounds_of_an_effect_are_never_closer_than_95_percent() -> None:
    effect = effect_of(OUTCOME._replace(needed=1.0), LINE, 1100, at(np.full(1100, 2.0)))
    assert (effect.lower, effect.upper) == pytest.approx((0.1 - Z95 * 0.05 / 2, 0.1 + Z95 * 0.05 / 2))


def test_at_a_level_of_nothing_an_effect_is_in_units_of_the_metric() -> None:
    nothing = LINE._replace(level=0.0)
    assert effect_of(OUTCOME, nothing, 1100, at(np.full(1100, 2.0))).gain == 0.2
    rose = BACK._replace(line=nothing, came=1.7, rise=0.3, rise_error=0.05)
    assert effect_of_reversal(rose, 1200, at(np.full(1200, 2.0)), proven=True).gain == 0.3


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_effect_of_a_proven_cut_is_by_how_much_the_metric_got_worse_without_it(sign: float) -> None:
    rose = BACK._replace(came=1.7, came_error=0.03, rise=0.3, rise_error=0.05)
    effect = effect_of_reversal(rose, 400, at(np.full(400, 2.0), sign=sign), proven=True)
    assert (effect.step, effect.scale) == (400, 0.5)
    margin = Z95 * 0.05 / 2
    assert (effect.gain, effect.lower, effect.upper) == pytest.approx((0.15, 0.15 - margin, 0.15 + margin))
    assert effect.message.startswith(f"{sign * 1.7:.4g} at scale 0.5, {sign * 2.0:.4g} back at scale 1; helped: ")
    assert effect.line is not None
    expected = (201, sign * 2.0, 0.03, sign * 2.0, 0.04, sign * 1.7, 0.03)
    assert [getattr(effect.line, name) for name in Counterfactual.__slots__] == pytest.approx(list(expected))


def test_where_the_metric_did_not_get_worse_the_bounds_hold_both_comparisons_and_nothing_is_certain() -> None:
    context = at(np.full(1200, 2.0))
    fell = BACK._replace(came=1.7, came_error=0.03, rise=-0.1, rise_error=0.05)
    effect = effect_of_reversal(fell, 1200, context, proven=False)
    assert effect.gain == pytest.approx((0.2 - 0.1) / 2 / 2), "between what the trial showed and what came after it"
    assert effect.lower == pytest.approx((-0.1 - Z95 * 0.05) / 2)
    assert effect.upper == pytest.approx((0.2 + Z95 * 0.05) / 2)
    rose = effect_of_reversal(fell._replace(rise=0.4, rise_error=0.1), 1200, context, proven=False)
    assert rose.lower == 0.0, "it may be above 0 by the second comparison, and not be proven"
    assert rose.upper == pytest.approx((0.4 + Z95 * 0.1) / 2)
