"""The parts of a curve do not depend on how the log was cut, and what came while a command was on its way is heard again."""

from __future__ import annotations

import json
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.batches import batch, cut

from lrwatch.core.sample import Batch
from lrwatch.core.watched_curve import CHECKS, LARGEST, PART, WatchedCurve

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


def heard_with_a_command(curve: WatchedCurve, log: Batch, row: int, cuts: list[int], *, restart: bool) -> WatchedCurve:
    """Let a log be heard in pieces, with a command at `row`, somewhere in one; later parts of it are cut by then."""
    at = 0
    for piece in cut(log, cuts):
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
    return curve


def resumed(state: dict[str, Any]) -> WatchedCurve:
    curve = WatchedCurve()
    curve.restore(json.loads(json.dumps(state)))
    return curve


def restarted(curve: WatchedCurve) -> WatchedCurve:
    return resumed(curve.state())


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
    before, after = cut(LOG, [row + 1]) if row + 1 < N else (LOG, batch([], {}))
    expected = WatchedCurve()
    heard(expected, before)
    curve = heard_with_a_command(WatchedCurve(), LOG, row, cuts, restart=restart)
    assert curve.state()["remembered"] is not None
    curve.go_back()
    assert curve.state() == expected.state()
    heard(curve, after)
    assert curve.state() == WHOLE.state()


# A run so long that more values come between two checks than a part has.
LONG = 300 * PART
LONG_VALUES = 2 + 0.1 * np.random.default_rng(1).standard_normal(LONG)
BEHIND = 6 * PART  # of the end, where the tests below look


def long_log(first: int, end: int) -> Batch:
    return batch(np.arange(first + 1, end + 1), {"loss": LONG_VALUES[first:end]})


@pytest.fixture(scope="module")
def long_before() -> dict[str, Any]:
    """The state of a curve that has heard all of the long log but the values at its end."""
    curve = WatchedCurve()
    heard(curve, long_log(0, LONG - BEHIND))
    return curve.state()


def test_checks_of_a_long_run_come_as_often_and_what_waits_for_them_is_bounded() -> None:
    parts = [part for _, _, part in WatchedCurve().parts(long_log(0, LONG), LOSS)]
    counts = list(accumulate(len(part.steps) for part in parts))
    checks = [0, *(count for count, part in zip(counts, parts, strict=True) if part.checked)]
    assert all(after - before == max(1, before // CHECKS) for before, after in pairwise(checks))
    assert checks[-1] - checks[-2] > 2 * PART  # so these are more than a part
    assert max(len(part.steps) for part in parts) == PART


def test_the_state_does_not_grow_with_the_run(long_before: dict[str, Any]) -> None:
    assert len(long_before["steps"]) == len(long_before["values"]) < PART


def test_where_a_part_ends_changes_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spikes are clipped as if each check had one part."""
    parted, whole = WatchedCurve(), WatchedCurve()
    heard(parted, long_log(0, LONG))
    monkeypatch.setattr("lrwatch.core.watched_curve.PART", LONG)
    parts = heard(whole, long_log(0, LONG))
    end = sum(len(steps) for _, _, steps in parts)
    assert len(parts[-1][2]) > PART
    assert parted.curve.count(0, end) == whole.curve.count(0, end)
    assert parted.curve.mean(0, end) == pytest.approx(whole.curve.mean(0, end), rel=1e-12)
    assert parted.curve.deviation(0, end) == pytest.approx(whole.curve.deviation(0, end), rel=1e-9)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, BEHIND - 1), st.lists(st.integers(1, BEHIND - 1), max_size=4), st.booleans())
def test_a_long_run_goes_back_as_a_short_one(
    long_before: dict[str, Any], row: int, cuts: list[int], restart: bool
) -> None:
    since = LONG - BEHIND
    expected, never = resumed(long_before), resumed(long_before)
    heard(expected, long_log(since, since + row + 1))
    heard(never, long_log(since, LONG))
    curve = heard_with_a_command(resumed(long_before), long_log(since, LONG), row, cuts, restart=restart)
    curve.go_back()
    assert curve.state() == expected.state()
    heard(curve, long_log(since + row + 1, LONG))
    assert curve.state() == never.state()


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
