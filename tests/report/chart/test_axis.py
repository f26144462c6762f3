from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwatch.core.sample import Floats
from lrwatch.report.chart.axis import ChartAxis, rate_axis, step_ticks, value_axis
from lrwatch.report.chart.decimate import DecimatedCurve, decimate
from lrwatch.report.text import MINUS, short


def decimated(values: Floats) -> DecimatedCurve:
    return decimate(np.arange(len(values)), np.asarray(values, np.float64), 0, max(1, len(values) - 1), 900)


def axis_of(values: Floats) -> ChartAxis:
    axis = value_axis([decimated(values)])
    assert axis is not None
    return axis


def test_a_few_spikes_do_not_flatten_the_curve() -> None:
    values = np.linspace(2.0, 1.0, 500)
    values[[100, 300]] = 1e6, -1e6

    axis = axis_of(values)

    assert not axis.log
    assert 0.5 < axis.low < 1.0
    assert 2.0 < axis.high < 2.5


def test_a_curve_without_outliers_is_shown_whole() -> None:
    axis = axis_of(np.linspace(5.0, 1.0, 500))

    assert axis.low < 1.0
    assert axis.high > 5.0


def test_positive_values_over_a_wide_range_get_a_logarithmic_axis() -> None:
    assert axis_of(np.geomspace(10, 0.01, 200)).log


@pytest.mark.parametrize(
    "values", [np.linspace(10, 0, 200), np.linspace(10, 1, 200), np.geomspace(10, 0.01, 200) - 0.02]
)
def test_a_narrow_range_or_a_value_that_is_not_positive_keeps_the_axis_linear(values: Floats) -> None:
    assert not axis_of(values).log


@pytest.mark.parametrize(
    "values",
    [
        [0.0],
        [7.0],
        [7.0, 7.0],
        [-3.0],
        [1e300, 1e300],
        [1.7e308],
        [-1.7e308, -1.6e308],
        [1e300, 1.0],
        [-1.7e308, 1.7e308],
        [5e-324, 0.0],
        [1e-300, 1e-290],
        [1e-320, 1e300],
        [float("nan"), 2.0, float("inf")],
    ],
)
def test_odd_values_lie_within_a_finite_axis_with_ticks(values: list[float]) -> None:
    axis = axis_of(np.array(values))

    ticks = axis.ticks(6)
    assert np.isfinite([axis.low, axis.high]).all()
    assert axis.low < axis.high
    assert 1 <= len(ticks) <= 14
    assert all(axis.low <= value <= axis.high for value, _ in ticks)
    assert np.isfinite(axis.place(np.array([v for v in values if np.isfinite(v)]))).all()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60))
def test_ticks_lie_on_the_axis_in_order_with_labels_of_their_own(values: list[float]) -> None:
    axis = axis_of(np.array(values))

    ticks = axis.ticks(6)
    assert [v for v, _ in ticks] == sorted(v for v, _ in ticks)
    assert len({label for _, label in ticks}) == len(ticks)
    assert len(ticks) <= 14


def test_no_finite_value_gives_no_axis() -> None:
    assert value_axis([decimated(np.full(5, np.nan))]) is None
    assert value_axis([]) is None


def test_a_short_warmup_does_not_flatten_the_cuts_of_a_learning_rate() -> None:
    rate = np.full(1000, 0.1)
    rate[:20] = np.geomspace(1e-7, 0.1, 20)
    rate[500:] = 0.05
    rate[800:] = 0.01

    axis = rate_axis([decimated(rate)])

    assert axis is not None
    assert axis.log
    assert 0.001 < axis.low < 0.01


def test_a_rate_that_ends_at_zero_and_one_that_is_never_positive() -> None:
    axis = rate_axis([decimated(np.linspace(0.1, 0.0, 500))])

    assert axis is not None
    assert 0 < axis.low < 1e-3
    assert rate_axis([decimated(np.zeros(5))]) is None


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 3000, ["0", "500", "1,000", "1,500", "2,000", "2,500", "3,000"]),
        (0, 24_000, ["0", "5k", "10k", "15k", "20k"]),
        (0, 5e6, ["0", "1M", "2M", "3M", "4M", "5M"]),
        (-1, 1, [f"{MINUS}1", "0", "1"]),
    ],
)
def test_steps_are_labelled_by_the_distance_of_the_ticks(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in step_ticks(low, high, 6)] == labels


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3.0, "3"),
        (0.41234567, "0.4123"),
        (-1234567.0, f"{MINUS}1.235e6"),
        (1e300, "1e300"),
        (float("-inf"), f"{MINUS}∞"),
        (-0.0, "0"),
    ],
)
def test_values_have_four_digits(value: float, words: str) -> None:
    assert short(value) == words


def test_values_below_all_ordinary_floats_have_an_axis_with_ticks() -> None:
    axis = axis_of(np.array([1.9e-305, 2.2e-313]))

    assert axis.low < axis.high
    assert axis.ticks(6)
