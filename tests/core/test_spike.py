"""Spikes, single and recurring, and what is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lrwatch.core.detectors.spike import RECURRING, WINDOW, SpikeDetector
from lrwatch.core.events import Finding
from lrwatch.core.sample import Floats
from lrwatch.testing import check_detector
from lrwatch.testing.curves import NOISES, exponential

N = 4000
NOISE = 2.0 + 0.1 * np.random.default_rng(0).standard_normal(N)


def found(values: Floats, direction: str = "min") -> list[tuple[int, Finding]]:
    return SpikeDetector("loss", direction).feed(np.arange(len(values)), values)


def spiked(at: list[int], height: float = 3.0, length: int = 6, values: Floats = NOISE) -> Floats:
    copy: Floats = values.copy()
    for i in at:
        copy[i : i + length] += height
    return copy


@pytest.mark.parametrize(("height", "length"), [(1.5, 6), (3.0, 20), (1e6, 3), (10.0, 1), (10.0, 2)])
def test_a_spike_is_said_when_the_metric_has_come_back(height: float, length: int) -> None:
    ((at, finding),) = found(spiked([2000], height, length))
    assert 2000 + length <= at < 2000 + length + 8
    assert finding.evidence["from"] in range(2000, 2003)
    assert finding.evidence["height"] == pytest.approx(height, rel=0.3)
    assert finding.evidence["severity"] == pytest.approx(height / 0.1, rel=0.4)
    assert finding.evidence["recurring"] is False
    assert "no reason to act" in finding.message


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


def test_after_a_long_calm_a_spike_is_news_again() -> None:
    calm = 2.0 + 0.1 * np.random.default_rng(1).standard_normal(2 * WINDOW + N)
    assert [at // 1000 for at, _ in found(spiked([2000, 4000, 3000 + WINDOW + 2000], values=calm))] == [2, 15]


STAYS_SILENT: dict[str, Any] = {
    "a level shift": NOISE + np.where(np.arange(N) > 2000, 5.0, 0.0),
    "a step down": NOISE - np.where(np.arange(N) > 2000, 1.5, 0.0),
    "divergence": NOISE + np.where(np.arange(N) > 2000, 0.01 * (np.arange(N) - 2000.0), 0.0),
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


def test_it_keeps_the_promises_of_a_detector() -> None:
    check_detector(lambda: SpikeDetector("loss"), finite_only=True, max_state_bytes=6000)
