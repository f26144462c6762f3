"""Quantiles of Student's t against the tables that every textbook prints, and against closed forms far out in the tail."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from lrwatch.core.stats.student import t_quantile, upper_tail

TABLE = [
    (0.05, 1, 6.314), (0.05, 2, 2.920), (0.05, 5, 2.015), (0.05, 10, 1.812), (0.05, 30, 1.697),
    (0.025, 1, 12.706), (0.025, 2, 4.303), (0.025, 3, 3.182), (0.025, 5, 2.571), (0.025, 10, 2.228),
    (0.025, 12, 2.179), (0.025, 30, 2.042), (0.025, 120, 1.980),
    (0.005, 1, 63.657), (0.005, 4, 4.604), (0.005, 10, 3.169), (0.005, 12, 3.055), (0.005, 60, 2.660),
    (0.001, 10, 4.144), (0.001, 11, 4.025), (0.0005, 5, 6.869), (0.0005, 10, 4.587), (0.0005, 12, 4.318),
]  # fmt: skip


@pytest.mark.parametrize(("alpha", "df", "expected"), TABLE)
def test_a_quantile_is_that_of_the_table(alpha: float, df: int, expected: float) -> None:
    assert t_quantile(alpha, df) == pytest.approx(expected, abs=0.0006)


@pytest.mark.parametrize("alpha", [0.4, 1e-3, 1e-6, 1e-9, 1e-10, 1e-14, 1e-30])
def test_deep_in_the_tail_a_quantile_is_that_of_the_closed_form(alpha: float) -> None:
    one = 1 / math.tan(math.pi * alpha)  # df 1: Cauchy
    two = (1 - 2 * alpha) * math.sqrt(1 / (2 * alpha * (1 - alpha)))
    assert t_quantile(alpha, 1) == pytest.approx(one, rel=1e-6)
    assert t_quantile(alpha, 2) == pytest.approx(two, rel=1e-6)


@pytest.mark.parametrize("df", [1, 2, 8, 11, 12])
def test_the_tail_falls_and_its_quantile_inverts_it(df: int) -> None:
    places = [0.0, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0, 1e4]
    tails = [upper_tail(t, df) for t in places]
    assert tails[0] == 0.5
    assert all(later < earlier for earlier, later in pairwise(tails))
    for t, tail in zip(places[1:], tails[1:], strict=True):
        if tail > 1e-9:
            assert t_quantile(tail, df) == pytest.approx(t, rel=1e-6)


def test_where_the_series_ends_and_the_bound_begins_the_bound_is_close_and_above() -> None:
    for df in (8, 11, 12):
        at = t_quantile(1.0000001e-9, df)
        below, above = upper_tail(at * 1.0001, df), upper_tail(at * 0.9999, df)
        assert 0.9 < below / above < 1.1
