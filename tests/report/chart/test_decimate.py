from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwatch.report.chart.decimate import MAX_RESTARTS, decimate

floats = st.floats(allow_nan=True, allow_infinity=True, width=64)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(floats, max_size=120),
    gaps=st.lists(st.integers(-3, 1000), min_size=120, max_size=120),
    buckets=st.integers(1, 40),
)
def test_extremes_and_counts_survive_at_their_own_steps(values: list[float], gaps: list[int], buckets: int) -> None:
    given_values = np.array(values, np.float64)
    steps = np.cumsum(np.array(gaps[: len(values)], np.int64), dtype=np.int64)
    low, high = (float(steps.min()), float(steps.max())) if len(steps) else (0.0, 0.0)

    rows = decimate(steps, given_values, low, max(high, low + 1), buckets)

    finite = np.isfinite(given_values)
    assert len(rows) <= 2 * buckets
    assert int(rows.finite.sum()) == int(finite.sum())
    assert int(rows.nonfinite.sum()) == int((~finite).sum())
    if finite.any():
        filled = rows.finite > 0
        assert rows.low[filled].min() == given_values[finite].min()
        assert rows.high[filled].max() == given_values[finite].max()
        pairs = set(zip(steps[finite].tolist(), given_values[finite].tolist(), strict=True))
        assert set(zip(rows.low_step[filled].tolist(), rows.low[filled].tolist(), strict=True)) <= pairs
        assert set(zip(rows.high_step[filled].tolist(), rows.high[filled].tolist(), strict=True)) <= pairs
        assert np.all((rows.low[filled] <= rows.median[filled]) & (rows.median[filled] <= rows.high[filled]))


def test_one_spike_in_a_million_values_stays_as_high_as_it_is() -> None:
    values = np.full(1_000_000, 0.5)
    values[654_321] = 77.0

    steps, shown, _ = decimate(np.arange(1_000_000), values, 0, 999_999, 900).extremes()

    assert len(shown) < 2000
    assert shown.max() == 77.0
    assert steps[shown.argmax()] == 654_321


def test_few_values_are_kept_as_they_are() -> None:
    values = np.array([3.0, 1.0, 2.0])

    steps, shown, lift = decimate(np.array([0, 1, 1000]), values, 0, 1000, 10).extremes()

    assert shown.tolist() == [3.0, 1.0, 2.0]
    assert steps.tolist() == [0, 1, 1000]
    assert not lift.any()


def test_the_line_is_broken_at_a_resume_and_where_nothing_is_finite() -> None:
    values = np.array([5.0, 4.0, np.nan, 3.0, 4.5, 2.0])

    _, shown, lift = decimate(np.array([0, 1, 2, 3, 1, 2]), values, 0, 3, 10).medians()

    assert shown.tolist() == [5.0, 4.0, 3.0, 4.5, 2.0]
    assert lift.tolist() == [False, False, True, True, False]


def test_a_log_that_several_ranks_wrote_out_of_order_is_sorted() -> None:
    steps = np.arange(400)
    steps[::2], steps[1::2] = np.arange(1, 400, 2), np.arange(0, 400, 2)
    assert np.count_nonzero(np.diff(steps) < 0) > MAX_RESTARTS

    shown, _, lift = decimate(steps, steps.astype(np.float64), 0, 399, 900).extremes()

    assert shown.tolist() == list(range(400))
    assert not lift.any()


def test_the_median_of_huge_values_does_not_overflow() -> None:
    rows = decimate(np.zeros(4, np.int64), np.full(4, 1.7e308), 0, 1, 1)

    assert rows.median.tolist() == [1.7e308]


def test_no_values_give_no_rows() -> None:
    rows = decimate(np.empty(0, np.int64), np.empty(0), 0, 1, 5)

    assert len(rows) == 0
    assert len(rows.extremes()[0]) == 0
