"""Spikes, single and recurring, and what is none."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import pytest

from lrwatch.core.detectors.spike import GROUP, LONGEST, RECURRING, WINDOW, SpikeDetector
from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats
from lrwatch.testing.synthetic.curves import NOISES, exponential

N = 4000
NOISE = 2.0 + 0.1 * np.random.default_rng(0).standard_normal(N)


def found(values: Floats, direction: Literal["min", "max"] = "min") -> list[tuple[int, Finding]]:
    return SpikeDetector("loss", DetectOptions(direction=direction)).feed(list(range(len(values))), values.tolist())


def spiked(at: list[int], height: float = 3.0, length: int = 6, values: Floats = NOISE) -> Floats:
    copy: Floats = values.copy()
    for i in at:
        copy[i : i + length] += height
    return copy


@pytest.mark.parametrize(("height", "length"), [(1.5, 6), (3.0, 20), (1e6, 3), (10.0, 1), (10.0, 2)])
def test_a_spike_is_said_when_the_metric_has_come_back(height: float, length: int) -> None:
    ((at, finding),) = found(spiked([2000], height, length))
    assert 2000 + length <= finding.step <= at < 2000 + length + 8 + GROUP
    assert finding.evidence["from"] == 2000
    assert finding.evidence["lasted"] == length
    assert finding.evidence["height"] == pytest.approx(height, rel=0.3)
    assert finding.evidence["severity"] == pytest.approx(height / 0.1, rel=0.4)
    assert finding.evidence["recurring"] is False
    assert "needs no action" in finding.message


def test_a_metric_to_maximise_is_the_same_mirrored() -> None:
    values = spiked([2000])
    assert [at for at, _ in found(-values, "max")] == [at for at, _ in found(values)] != []
    assert found(-values) == []


def test_single_spikes_are_said_once_and_recurring_ones_once_more() -> None:
    values = spiked([500 * i for i in range(1, 8)])
    first, second = found(values)
    assert first[1].evidence["recurring"] is False
    assert second[1].evidence["recurring"] is True
    assert second[1].step == pytest.approx(500 * RECURRING, abs=20)
    assert "unstable" in second[1].message
    assert second[1].evidence["per_10000"] == pytest.approx(10_000 * RECURRING / second[1].step, rel=0.01)


def test_after_a_long_calm_a_spike_is_news_again() -> None:
    calm = 2.0 + 0.1 * np.random.default_rng(1).standard_normal(2 * WINDOW + N)
    assert [at // 1000 for at, _ in found(spiked([2000, 4000, 3000 + WINDOW + 2000], values=calm))] == [2, 15]


STAYS_SILENT: dict[str, Any] = {
    "a level shift": NOISE + np.where(np.arange(N) > 2000, 5.0, 0.0),
    "a step down": NOISE - np.where(np.arange(N) > 2000, 1.5, 0.0),
    "divergence": NOISE + np.where(np.arange(N) > 2000, 0.01 * (np.arange(N) - 2000.0), 0.0),
    "a rise that takes too long to come back": spiked([2000], 3.0, LONGEST + 1),
    "epochs that jump and come back slowly": NOISE - 0.0015 * (np.arange(N) % 1000),
    "a spike for the better": spiked([2000], -1.9),
    "a constant": np.full(N, 0.5),
    "too short": spiked([40], values=NOISE[:60]),
}


@pytest.mark.parametrize("name", STAYS_SILENT)
def test_what_is_no_spike_stays_silent(name: str) -> None:
    assert found(STAYS_SILENT[name]) == []


@pytest.mark.parametrize("noise", [name for name in NOISES if name != "spikes"])
def test_noise_of_any_kind_has_none(noise: str) -> None:
    for seed in range(10):
        assert found(exponential(N, 600, 10.0, 5.0) + 0.1 * NOISES[noise](np.random.default_rng(seed), N)) == []


def test_heavy_noise_behind_a_smoothing_logger_has_few() -> None:
    # One large shock is high for two dozen values then: many high values in a row are no more than one.
    said = 0
    for seed in range(20):
        shocks = np.random.default_rng(seed).standard_t(3, N)
        smoothed, last = np.empty(N), 0.0
        for i, shock in enumerate(shocks.tolist()):
            smoothed[i] = last = 0.9 * last + 0.1 * shock
        said += len(found(2 + smoothed))
    assert said <= 2


def test_a_smooth_curve_has_spikes_too() -> None:
    assert len(found(spiked([2000], 0.5, 10, values=exponential(N, 600, 10.0, 5.0)))) == 1


def test_after_a_level_shift_spikes_are_found_at_the_new_level() -> None:
    shifted = NOISE + np.where(np.arange(N) > 1000, 5.0, 0.0)
    ((at, finding),) = found(spiked([3000], values=shifted))
    assert 3000 < at < 3040
    assert finding.evidence["level"] == pytest.approx(7, abs=0.2)


def test_a_new_phase_learns_the_level_anew() -> None:
    detector = SpikeDetector("loss")
    assert detector.feed(list(range(1000)), NOISE[:1000].tolist()) == []
    detector.restart()
    assert detector.feed(list(range(1000, 2000)), (10 + NOISE[1000:2000]).tolist()) == []


def test_values_at_the_end_of_the_range_leave_no_infinity_in_the_state() -> None:
    detector = SpikeDetector("loss")
    detector.feed(list(range(N)), (np.finfo(np.float64).max * (-1.0) ** np.arange(N)).tolist())
    assert json.loads(json.dumps(detector.state(), allow_nan=False)) == detector.state()
