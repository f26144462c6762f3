"""Forecasts of the end of a run: inside their interval on known curves, and absent where they cannot be calibrated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.forecast import cases, inside, load
from lrwatch.core.curve import Curve
from lrwatch.core.forecast import Forecast, ended_at, forecast, if_decayed
from lrwatch.core.sample import Floats

TOTAL = 10_000
SHARED = Path(__file__).parents[3] / "shared" / "data"


def values(steps: Floats, seed: int = 0) -> Floats:
    return 2 + 8 / (1 + steps / 50) ** 0.5 + 0.05 * np.random.default_rng(seed).standard_normal(len(steps))


def curve(done: int, change: object = None, sign: float = 1.0) -> Curve:
    steps = np.arange(done)
    made = Curve()
    levels = values(steps.astype(float))
    if callable(change):
        levels = change(steps, levels)
    made.add(steps, sign * levels)
    return made


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("direction", ["min", "max"])
def test_a_power_law_ends_in_its_interval(share: float, direction: str) -> None:
    sign = 1.0 if direction == "min" else -1.0
    made = forecast(curve(int(share * TOTAL), sign=sign), TOTAL, direction=direction)
    end = ended_at(curve(TOTAL, sign=sign), TOTAL)
    assert not made.reason
    assert made.lower < end < made.upper
    assert made.value == pytest.approx(end, rel=0.1)
    farther = made.value - made.lower if direction == "min" else made.upper - made.value
    assert farther > 0.6 * (made.upper - made.lower)  # a decay may come that the log does not show


def shifted(steps: Floats, levels: Floats) -> Floats:
    return np.where(steps > 4000, levels + 1.5, levels)


def diverging(steps: Floats, levels: Floats) -> Floats:
    return levels + np.maximum(0, steps - 3500) / 300


def not_finite(steps: Floats, levels: Floats) -> Floats:
    return np.where(steps == 4900, np.nan, levels)


@pytest.mark.parametrize(
    ("made", "total", "reason"),
    [
        (curve(5000), 0, "the length of the run is unknown"),
        (curve(1000), TOTAL, "10 % of the run is done"),
        (curve(9800), TOTAL, "98 % of the run is done"),
        (curve(30), 60, "30 values are too few"),
        (curve(5000, shifted), TOTAL, "the level shifts near step 4"),
        (curve(5000, diverging), TOTAL, "the metric diverges"),
        (curve(5000, not_finite), TOTAL, "the value at step 4900 was not finite"),
    ],
)
def test_where_it_cannot_be_calibrated_there_is_none_and_the_reason_is_named(
    made: Curve, total: int, reason: str
) -> None:
    found = forecast(made, total)
    assert found.reason.startswith(reason)
    assert np.isnan(found.value)
    assert found.message == f"no forecast: {found.reason}"


def test_after_a_change_of_the_rate_only_the_new_phase_counts_once_it_is_long_enough() -> None:
    made = curve(5000, lambda steps, levels: np.where(steps >= 1500, levels - 1, levels))
    early = forecast(made, TOTAL, since=3500)
    assert early.reason == "the learning rate or the level changed at step 3500, which is too recent"
    assert forecast(made, TOTAL, since=1500).value == pytest.approx(ended_at(curve(TOTAL), TOTAL) - 1, abs=0.15)


def test_a_loss_that_was_never_negative_does_not_become_so() -> None:
    steep = Curve()
    steps = np.arange(3000)
    steep.add(steps, 1.0 - 0.11 * np.log(steps + 1.0))
    assert forecast(steep, TOTAL).lower == 0.0


def test_a_decay_now_brings_what_the_measured_cut_brought() -> None:
    made = if_decayed(Forecast(500, 1000), 4.0, 0.1, 0.05, 0.15)
    assert made.value == pytest.approx(3.6)
    assert (made.lower, made.upper) == pytest.approx((3.6 - 0.2 * 1.2816 / 1.96, 3.6 + 0.2 * 1.2816 / 1.96))
    assert if_decayed(Forecast(500, 1000), 0.5, 0.1, 0.05, 0.15, direction="max").value == pytest.approx(0.55)


@pytest.mark.slow
def test_80_of_100_ends_of_real_trainings_lie_inside() -> None:
    if not (SHARED / "curves").is_dir():
        pytest.skip(f"the collection of real logs is not at {SHARED}")
    found = [case for log in load([SHARED / "curves", SHARED / "real"]) for case in cases(log)]
    for share in (0.3, 0.5, 0.7):
        shown = [case for case in found if case.share == share and not case.made.reason]
        assert len(shown) > 100
        assert 0.75 <= np.mean([inside(case) for case in shown]) <= 0.85
