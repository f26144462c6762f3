"""The blocks of a curve: bounded, the same however the log was cut, and restored as they were."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrwatch.core.curve import MAX_BLOCKS, Curve

RNG = np.random.default_rng(3)
STEPS = np.arange(0, 30_000, 7)
VALUES = 2 + 5 / np.sqrt(STEPS + 1) + 0.1 * RNG.standard_normal(len(STEPS))


def whole() -> Curve:
    curve = Curve()
    curve.add(STEPS, VALUES)
    return curve


def test_means_and_deviations_are_those_of_the_values() -> None:
    curve = whole()
    edge = 15_000 // curve.width * curve.width
    later = VALUES[edge <= STEPS]
    assert curve.count(edge, 30_001) == len(later)
    assert curve.mean(edge, 30_001) == pytest.approx(later.mean())
    assert curve.deviation(edge, 30_001) == pytest.approx(later.std())


@pytest.mark.slow
@given(st.lists(st.integers(0, len(STEPS)), max_size=8))
def test_it_does_not_depend_on_the_cut_or_on_restarts(at: list[int]) -> None:
    curve = Curve()
    edges = [0, *sorted(at), len(STEPS)]
    for start, end in itertools.pairwise(edges):
        curve.add(STEPS[start:end], VALUES[start:end])
        state = json.loads(json.dumps(curve.state()))
        curve = Curve()
        curve.restore(state)
    assert (curve.width, curve.last) == (whole().width, whole().last)
    assert curve.window(0, 40_000) == pytest.approx(whole().window(0, 40_000))


def test_it_stays_small_however_long_the_run_is() -> None:
    curve = Curve()
    for start in range(0, 10**7, 10**6):
        steps = np.arange(start, start + 10**6, 1000)
        curve.add(steps, np.ones(len(steps)))
    assert len(curve.window(0, 2 * 10**7)) <= MAX_BLOCKS
    assert len(json.dumps(curve.state())) < 20_000


def test_after_a_resume_the_later_values_count() -> None:
    curve = Curve()
    curve.add(np.arange(100), np.full(100, 3.0))
    curve.add(np.arange(50, 80), np.full(30, 1.0))
    assert curve.mean(50, 200) == 1.0
    assert (curve.last, curve.count(0, 200)) == (79, 80)


def test_values_that_are_not_finite_are_noted_and_left_out() -> None:
    curve = Curve()
    curve.add(np.arange(5), np.array([1.0, np.nan, 2.0, np.inf, 3.0]))
    assert (curve.nonfinite, curve.count(0, 9), curve.mean(0, 9)) == (3, 3, 2.0)
