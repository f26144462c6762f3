"""A learning rate that is too high: to and fro, or more noise at a worse level."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from lrwatch.core.detectors.oscillation import SEGMENT, OscillationDetector
from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats
from lrwatch.testing.synthetic.curves import NOISES, exponential

N = 6000
I = np.arange(N)  # noqa: E741  # what the index is called in the formulas
FALLING = exponential(N, 1000, 5.0, 2.0)
NOISE = 0.1 * np.random.default_rng(0).standard_normal(N)


def found(values: Floats, direction: Literal["min", "max"] = "min") -> list[tuple[int, Finding]]:
    return OscillationDetector("loss", DetectOptions(direction=direction)).feed(
        list(range(len(values))), values.tolist()
    )


@pytest.mark.parametrize("amplitude", [0.06, 0.1, 1.0])
def test_every_second_value_that_is_worse_is_found(amplitude: float) -> None:
    values = FALLING + NOISE + np.where(I >= 3000, amplitude * (-1.0) ** I, 0.0)
    ((at, finding),) = found(values)
    assert 3000 < at < 3000 + 7 * SEGMENT
    assert finding.evidence["how"] == "period 2"
    assert float(finding.evidence["deviations"] or 0) > 6
    assert float(finding.evidence["von_neumann"] or 0) > 2.4
    assert float(finding.evidence["scatter"] or 0) > 0.9 * float(finding.evidence["scatter_before"] or 0) > 0
    assert "two kinds of batches" in finding.message


@pytest.mark.parametrize("correlation", [-0.5, -0.8])
def test_swings_that_die_out_are_told_from_an_alternation(correlation: float) -> None:
    swings, last = np.empty(N), 0.0
    for i, shock in enumerate(NOISE.tolist()):
        swings[i] = last = correlation * last + shock
    ((_, finding),) = found(FALLING + swings)
    assert finding.evidence["how"] == "negative correlation"
    assert finding.evidence["correlation"] == pytest.approx(correlation, abs=0.1)
    assert "batches" not in finding.message


@pytest.mark.parametrize("period", [3, 5, 7, 9, 11, 33, 100])
@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_batches_that_come_again_in_the_same_order_are_none(period: int, share: float) -> None:
    for seed in range(10):
        order = 0.1 * np.random.default_rng([period, seed]).standard_normal(period)
        assert found(2 + share**0.5 * np.resize(order, N) + (1 - share) ** 0.5 * NOISE) == []


def test_more_noise_at_a_worse_level_is_found_and_said_once() -> None:
    values = 2 + NOISE * np.where(I < 3000, 1, 4) + np.where(I < 3000, 0.0, 0.3)
    ((at, finding),) = found(values)
    assert 3000 < at < 3000 + 4 * SEGMENT
    assert finding.evidence["how"] == "noise"
    assert finding.evidence["scatter"] == pytest.approx(0.4, rel=0.2)
    assert finding.evidence["scatter_before"] == pytest.approx(0.1, rel=0.3)
    assert finding.evidence["level"] == pytest.approx(2.3, abs=0.1)
    assert [i for i, _ in found(-values, "max")] == [at]


def test_it_is_said_again_after_it_went_away() -> None:
    there = (I // 1500) % 2 == 1
    values = 2 + NOISE + np.where(there, 0.3 * (-1.0) ** I, 0.0)
    assert [i // 1500 for i, _ in found(values)] == [1, 3]


STAYS_SILENT: dict[str, Any] = {
    "noise that grows while the loss falls": FALLING + NOISE * (1 + I / 1000),
    "noise that grows at the same level": 2 + NOISE * np.where(I < 3000, 1, 4),
    "a level that gets worse without more noise": FALLING + NOISE + np.where(I < 3000, 0.0, 1.0),
    "a slow wave": 2 + NOISE + 0.3 * np.sin(2 * np.pi * I / 100),
    "epochs of 20 values": 2 + NOISE + 0.3 * (I % 20) / 20,
    "spikes at every tenth value": 2 + NOISE + 3.0 * (I % 10 == 0),
    "a constant": np.full(N, 1.5),
    "a line": I / 1000.0,
    "too short": NOISE[: SEGMENT - 1],
}


@pytest.mark.parametrize("name", STAYS_SILENT)
def test_what_is_no_oscillation_stays_silent(name: str) -> None:
    assert found(STAYS_SILENT[name]) == []


@pytest.mark.parametrize("noise", NOISES)
def test_noise_of_any_kind_has_none(noise: str) -> None:
    for seed in range(10):
        assert found(FALLING + 0.1 * NOISES[noise](np.random.default_rng(seed), N)) == []
