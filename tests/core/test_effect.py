"""Did the cut help: literals in, gain out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.effect import Baseline, measure
from lrwatch.core.events import Counterfactual, Effect, as_json, effect_in_words
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.policy import Policy


def look(step: int, end: float, *, per_step: float = 0.0, error: float = 0.01, slope_error: float = 0.0) -> Trend:
    return Trend(
        step=step, state="undecided", horizon=500.0, level=abs(end), improvement=0.0, lower=0.0, upper=0.0, upper_now=0.0, improvement_now=0.0,
        end=end, end_error=error, per_step=per_step, per_step_error=slope_error, samples=1000,
    )  # fmt: skip


def effect(before: Trend, after: Trend, sign: float = 1.0) -> Effect:
    measured = measure(Baseline.of(before, before.step + 10, 0.5, sign), after)
    assert measured is not None
    return measured


def test_nothing_is_said_before_the_new_phase_is_a_horizon_old() -> None:
    before = Baseline.of(look(1000, 2.0), 1010, 0.5, 1.0)
    assert measure(before, look(1509, 1.0)) is None
    assert measure(before, look(1510, 1.0)) is not None


def test_an_effect_that_noise_hides_is_measured_all_the_same_and_its_interval_says_so() -> None:
    measured = effect(look(1000, 2.0), look(1510, 1.99))
    assert measured.lower < 0 < measured.gain < measured.upper
    assert measured.message.endswith("; no certain gain: 0.5 % better (0.9 % worse to 1.9 % better)"), (
        "as status, report and demo say it"
    )


@pytest.mark.parametrize(
    ("step", "end", "gain", "verdict"),
    [(1600, 1.8, 0.1, "helped"), (2600, 2.0, 0.0, "no certain gain"), (1600, 2.2, -0.1, "cost progress")],
)
def test_the_gain_is_relative_to_the_level_before(step: int, end: float, gain: float, verdict: str) -> None:
    measured = effect(look(1000, 2.0), look(step, end))
    assert (measured.step, measured.scale) == (step, 0.5)
    assert measured.gain == pytest.approx(gain)
    assert measured.upper - measured.gain == pytest.approx(1.96 * 0.01 * 2**0.5 / 2)
    assert measured.gain - measured.lower == pytest.approx(measured.upper - measured.gain)
    assert measured.verdict == verdict
    assert measured.message.endswith(f"; {effect_in_words(measured.gain, measured.lower, measured.upper)}")


def test_a_falling_line_would_have_gone_on() -> None:
    before = look(1000, 2.0, per_step=-0.0005, slope_error=0.0001)
    measured = effect(before, look(3000, 1.0))
    assert measured.gain == pytest.approx(0.0)
    assert measured.upper == pytest.approx(1.96 * (2 * 0.01**2 + 0.2**2) ** 0.5 / 2)


def test_of_a_line_that_seems_to_rise_the_mean_counts_and_not_its_end() -> None:
    rising = replace(look(1000, 2.0, per_step=0.0001), span=1000.0)
    assert effect(rising, look(1600, 1.95)).gain == pytest.approx(0.0)
    better = replace(look(1000, 2.0, per_step=0.0001), span=1000.0)  # where more is better it improves
    assert effect(better, look(1600, 2.06), sign=-1.0).gain == pytest.approx(0.0)


def test_a_rising_line_is_the_noise_that_was_selected() -> None:
    measured = effect(look(1000, 2.0, per_step=0.0005, slope_error=0.0001), look(3000, 2.0))
    assert measured.gain == 0.0
    assert measured.upper == pytest.approx(1.96 * 0.01 * 2**0.5 / 2)


def test_a_metric_to_maximise_is_the_same_mirrored() -> None:
    loss = effect(look(1000, -0.8, per_step=-1e-4), look(1600, -0.9))
    accuracy = effect(look(1000, 0.8, per_step=1e-4), look(1600, 0.9), sign=-1.0)
    assert (accuracy.gain, accuracy.lower, accuracy.upper) == (loss.gain, loss.lower, loss.upper)
    assert accuracy.gain == pytest.approx((0.9 - 0.86) / 0.8)


def test_a_level_of_0_gives_the_gain_in_units_of_the_metric() -> None:
    assert effect(look(1000, 0.0), look(1600, -0.5)).gain == 0.5


def test_the_effect_carries_the_line_that_was_continued_and_what_came() -> None:
    measured = effect(look(1000, 2.0, per_step=-0.0005, slope_error=0.0001), look(3000, 1.0, error=0.02))

    line = measured.line
    assert line is not None
    assert (line.since, line.before, line.expected, line.came, line.came_error) == (1010, 1.995, 1.0, 1.0, 0.02)
    assert line.before_error == pytest.approx((0.01**2 + 0.001**2) ** 0.5)
    assert line.expected_error == pytest.approx((0.01**2 + 0.2**2) ** 0.5)
    margin = 1.96 * (line.expected_error**2 + line.came_error**2) ** 0.5
    assert measured.upper - measured.gain == pytest.approx(margin / 2)
    assert as_json(measured, "r").items() >= {"step": 3000, "since": 1010, "expected": 1.0, "came": 1.0}.items()


def test_a_line_that_seems_to_rise_is_continued_level() -> None:
    line = effect(look(1000, 2.0, per_step=0.0005, slope_error=0.0001), look(3000, 2.0)).line

    assert line == Counterfactual(1010, 2.0, 0.01, 2.0, 0.01, 2.0, 0.01)


def test_an_effect_without_a_line_is_told_as_before() -> None:
    event = as_json(Effect(9, 0.5, 0.1, 0.0, 0.2, "words"), "r")

    assert list(event) == ["event", "run", "step", "scale", "gain", "lower", "upper", "message"]


@pytest.mark.parametrize(
    ("gain", "lower", "upper", "words"),
    [
        (0.021, 0.0185, 0.0235, "helped: 2.10 % better (1.85 to 2.35 %)"),
        (0.0278, 0.0071, 0.0486, "helped: 2.8 % better (0.7 to 4.9 %)"),
        (0.004, -0.011, 0.019, "no certain gain: 0.4 % better (1.1 % worse to 1.9 % better)"),
        (0.0, 0.0, 0.0, "no gain: 0.0 % (0.0 % worse to 0.0 % better)"),
        (-0.0004, -0.016, 0.015, "no gain: 0.0 % (1.6 % worse to 1.5 % better)"),
        (-0.3, -0.5, -0.1, "cost progress: 30 % worse (10 to 50 %)"),
        (1.5, 1.1, 1.9, "helped: 150 % better (110 to 190 %)"),
        (3e-7, 2e-7, 4e-7, "helped: 0.000 % (0.000 to 0.000 %)"),
        (1e8, 0.5, 2e8, "helped: 1e+10 % better (50 to 2e+10 %)"),
        (0.1, float("-inf"), float("inf"), "no certain gain: 10.0 % better (inf % worse to 100.0 % better)"),
    ],
)
def test_a_gain_is_told_plainly_and_as_exactly_as_it_is_known(
    gain: float, lower: float, upper: float, words: str
) -> None:
    assert effect_in_words(gain, lower, upper) == words


@pytest.mark.parametrize(
    ("span", "applied", "measured", "is_known"),
    [
        (0.0, 1010, 1510, True),  # at once
        (0.0, 1400, 2000, True),
        (0.0, 1600, 2100, False),  # the command went out late, as after a full disk
        (0.0, 1010, 2100, False),  # the log was read late
        (5000.0, 1600, 2100, True),  # a long line says more
        (5000.0, 5600, 6100, False),
    ],
)
def test_a_line_is_not_extended_beyond_what_it_can_say(
    span: float, applied: int, measured: int, *, is_known: bool
) -> None:
    falling = replace(look(1000, 2.0, per_step=-0.001), span=span)
    policy = Policy(DetectOptions(), PolicyOptions(mode="auto"))
    policy.ask(0.5, falling)
    policy.applied(applied, 0.5)
    effect = policy.measure(look(measured, 1.0))
    assert (effect is not None) == is_known
    assert policy.command.baseline is None, "it is asked for once"
