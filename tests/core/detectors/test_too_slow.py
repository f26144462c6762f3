"""A suspicion that the learning rate is too low."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from lrwatch.core.detectors.too_slow import TooSlowDetector
from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats
from lrwatch.testing.synthetic.curves import NOISES, exponential, line, power_law, stairs

N = 10_000


def found(values: Floats, direction: Literal["min", "max"] = "min") -> list[tuple[int, Finding]]:
    return TooSlowDetector("loss", DetectOptions(direction=direction)).feed(list(range(len(values))), values.tolist())


def noise(seed: int = 0, sd: float = 0.02) -> Floats:
    return sd * np.random.default_rng(seed).standard_normal(N)


@pytest.mark.parametrize("per_value", [1e-4, 2e-4, 3e-4])
def test_a_straight_line_with_little_noise_is_suspected_once(per_value: float) -> None:
    ((at, finding),) = found(line(N, per_value) + noise())
    assert at + 1 in (2048, 4096, 8192)
    assert finding.evidence["suspicion"] is True
    assert finding.evidence["gain_ratio"] == pytest.approx(per_value * at / 4, rel=0.05)
    assert finding.evidence["slope_ratio"] == pytest.approx(1, abs=0.1)
    assert "only a hint" in finding.message
    assert [i for i, _ in found(-(line(N, per_value) + noise()), "max")] == [at]


STAYS_SILENT: dict[str, Any] = {
    "a line with much noise": line(N, 2e-4) + noise(sd=3.0),
    "a line that brings little": line(N, 1e-5) + noise(sd=0.001),
    "a line upwards": line(N, -2e-4) + noise(),
    "an exponential": exponential(N, 3000) + noise(),
    "faster and faster": 4 - 2 * (np.arange(N) / N) ** 2 + noise(),
    "stairs": stairs(N, 6) + noise(),
    "a constant": np.full(N, 2.0),
    "zeros": np.zeros(N),
    "too short": line(1000, 1e-3),
}


@pytest.mark.parametrize("name", STAYS_SILENT)
def test_what_is_not_suspicious_stays_silent(name: str) -> None:
    assert found(STAYS_SILENT[name]) == []


@pytest.mark.parametrize("exponent", [0.05, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("kind", NOISES)
def test_a_power_law_is_never_suspected(exponent: float, kind: str) -> None:
    for seed in range(3):
        assert found(power_law(N, exponent) + 0.02 * NOISES[kind](np.random.default_rng(seed), N)) == []
