"""The parts of a curve do not depend on how the log was cut, and what came while a command was on its way is heard again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import batch, cut

from lrwatch.core.sample import Batch
from lrwatch.core.watched_curve import CHECKS, LARGEST, WatchedCurve

N = 1500
RNG = np.random.default_rng(0)
VALUES = 2 + 3 / np.sqrt(np.arange(1, N + 1)) + 0.1 * RNG.standard_normal(N)
VALUES[[77, 900]] = np.nan
VALUES[[500, 501]] = 1e300
LOG = batch(np.arange(1, N + 1), {"loss": VALUES, "lr": np.ones(N)})
LOSS = [(-1, "loss")]


def heard(curve: WatchedCurve, log: Batch, primary_from: Any = LOSS) -> list[tuple[int, str, list[int]]]:
    """Let the parts of a batch be heard. Return their last rows, metrics and steps."""
    parts = curve.parts(log, primary_from)
    for _, _, part in parts:
        curve.take(part)
    return [(row, metric, part.steps) for row, metric, part in parts]


def restarted(curve: WatchedCurve) -> WatchedCurve:
    again = WatchedCurve()
    again.restore(json.loads(json.dumps(curve.state())))
    return again


WHOLE = WatchedCurve()
PARTS = heard(WHOLE, LOG)


def test_parts_are_all_values_in_order_and_a_hundredth_of_the_run_each() -> None:
    steps = [step for _, _, part in PARTS for step in part]
    assert steps == list(range(1, len(steps) + 1))
    assert N - len(steps) < N / CHECKS
    count = 0
    for row, metric, part in PARTS:
        assert len(part) == max(1, count // CHECKS)
        count += len(part)
        assert (row, metric) == (count - 1, "loss")
    assert 0 < WHOLE.room <= N // CHECKS


def test_spikes_are_clipped_and_values_that_are_not_finite_left_out() -> None:
    curve = WHOLE.curve
    assert curve.count(0, N) == sum(len(part) for _, _, part in PARTS) - 2
    assert curve.mean(480, 520) < 3
    wild = WatchedCurve()
    heard(wild, batch([1, 2], {"loss": [1e300, -1e300]}))
    assert wild.curve.mean(0, 3) == 0.0
    assert wild.curve.deviation(0, 3) == LARGEST


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, N - 1), max_size=10), st.booleans())
def test_the_cut_of_the_log_and_restarts_change_nothing(cuts: list[int], restart: bool) -> None:
    curve = WatchedCurve()
    steps: list[list[int]] = []
    for piece in cut(LOG, cuts):
        steps += [part for _, _, part in heard(curve, piece)]
        curve = restarted(curve) if restart else curve
    assert steps == [part for _, _, part in PARTS]
    assert curve.state() == WHOLE.state()


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(0, N - 1), st.lists(st.integers(1, N - 1), max_size=6), st.booleans())
def test_to_go_back_is_never_to_have_heard(row: int, cuts: list[int], restart: bool) -> None:
    """A command came at `row`, somewhere in a batch; later parts of the batch had been cut by then."""
    before, after = cut(LOG, [row + 1]) if row + 1 < N else (LOG, batch([], {}))
    expected = WatchedCurve()
    heard(expected, before)
    curve, at = WatchedCurve(), 0
    for piece in cut(LOG, cuts):
        parts = curve.parts(piece, LOSS)
        inside = at <= row < at + piece.rows
        for last, _, part in parts:
            if inside and last > row - at:
                curve.remember(row - at)
                inside = False
            curve.take(part)
        if inside:
            curve.remember(row - at)
        at += piece.rows
        curve = restarted(curve) if restart else curve
    assert curve.state()["remembered"] is not None
    curve.go_back()
    assert curve.state() == expected.state()
    heard(curve, after)
    assert curve.state() == WHOLE.state()


def test_to_go_back_to_nothing_changes_nothing() -> None:
    curve = WatchedCurve()
    heard(curve, LOG)
    curve.remember()
    curve.forget()
    curve.go_back()
    assert curve.state() == WHOLE.state()


def test_another_metric_begins_its_own_parts() -> None:
    log = batch(np.arange(400), {"loss_cls": np.ones(400), "loss": np.full(400, 2.0)})
    whole = WatchedCurve().parts(log, [(-1, "loss_cls"), (300, "loss")])
    assert {metric for row, metric, _ in whole if row < 300} == {"loss_cls"}
    assert [(row, metric, len(part.steps)) for row, metric, part in whole if row >= 300][:2] == [
        (300, "loss", 1),
        (301, "loss", 1),
    ]


@pytest.mark.parametrize("log", [batch([], {}), batch([1], {"lr": [1.0]})])
def test_without_the_metric_there_are_no_parts(log: Batch) -> None:
    assert WatchedCurve().parts(log, LOSS) == []
    assert WatchedCurve().parts(log, []) == []
