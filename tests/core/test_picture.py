"""The points of a picture: every extreme is among them, their number is bounded, and no cut or restart changes them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrwatch.core.picture import BLOCKS, MAX_CURVES, MAX_NONFINITE, WAITING, Envelope, Picture
from lrwatch.core.sample import Batch, Column, Floats, Ints

RNG = np.random.default_rng(7)
STEPS: Ints = np.arange(0, 60_000, 3)
VALUES: Floats = 2 + 5 / np.sqrt(STEPS + 1) + 0.1 * RNG.standard_normal(len(STEPS))
VALUES[12_345] = 40.0
VALUES[777] = -3.0
VALUES[5_000] = np.nan


def batch(**columns: Floats) -> Batch:
    rows = np.arange(len(next(iter(columns.values()))))
    return Batch(rows.copy(), {name: Column(rows, values) for name, values in columns.items()})


def whole() -> Envelope:
    envelope = Envelope()
    envelope.add(STEPS, VALUES)
    return envelope


def test_every_extreme_is_there_at_its_step_and_so_is_what_was_not_finite() -> None:
    steps, values = whole().points()
    assert len(steps) <= 3 * BLOCKS + MAX_NONFINITE
    assert (np.diff(steps) >= 0).all()
    assert steps[np.nanargmax(values)] == STEPS[12_345]
    assert steps[np.nanargmin(values)] == STEPS[777]
    assert steps[np.isnan(values)].tolist() == [STEPS[5_000]]
    assert whole().seen == len(STEPS)


def test_a_short_run_is_there_value_by_value() -> None:
    envelope = Envelope()
    envelope.add(STEPS[:200], VALUES[:200])
    steps, values = envelope.points()
    assert steps.tolist() == STEPS[:200].tolist()
    assert values.tolist() == pytest.approx(VALUES[:200].tolist(), rel=1e-15)


@given(st.lists(st.integers(0, len(STEPS)), max_size=6), st.booleans())
def test_it_does_not_depend_on_the_cut_or_on_restarts(at: list[int], restarts: bool) -> None:
    envelope = Envelope()
    for start, end in itertools.pairwise([0, *sorted(at), len(STEPS)]):
        envelope.add(STEPS[start:end], VALUES[start:end])
        if restarts:
            again = Envelope()
            again.take(envelope.arrays())
            envelope = again
    expected, found = whole().points(), envelope.points()
    assert found[0].tolist() == expected[0].tolist()
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-12)


def test_what_comes_after_a_resume_replaces_what_was_there() -> None:
    envelope = Envelope()
    envelope.add(np.arange(100), np.full(100, 1.0))
    envelope.add(np.arange(50, 80), np.full(30, 2.0))
    steps, values = envelope.points()
    assert steps.tolist() == list(range(80))
    assert values.tolist() == [1.0] * 50 + [2.0] * 30


def test_values_near_the_largest_float_are_drawn() -> None:
    envelope = Envelope(4)
    envelope.add(np.arange(64), np.full(64, 1.7e308))
    assert np.isfinite(envelope.points()[1]).all()


def test_a_picture_holds_losses_rates_and_what_decides_and_no_more_than_has_room() -> None:
    picture = Picture()
    ones = np.ones(4)
    picture.add(batch(loss=ones, val_loss=ones, lr=ones, grad_norm=ones, accuracy=ones), "accuracy")
    assert [one.name for one in picture.curves()] == ["loss", "val_loss", "lr", "accuracy"]
    picture.add(batch(**{f"loss_{i}": ones for i in range(3 * MAX_CURVES)}), "accuracy")
    assert len(picture.curves()) == MAX_CURVES


def test_single_values_wait_until_they_are_worth_the_work_or_asked_for() -> None:
    picture = Picture()
    for step in range(2 * WAITING + 10):
        rows = np.zeros(1, np.int64)
        picture.add(Batch(np.array([step]), {"loss": Column(rows, np.array([float(step)]))}), "loss")
    (curve,) = picture.curves()
    assert curve.seen == 2 * WAITING + 10
    assert curve.values.max() == curve.seen - 1
    again = Picture()
    again.take(picture.arrays())
    assert again.curves()[0].values.tolist() == curve.values.tolist()
