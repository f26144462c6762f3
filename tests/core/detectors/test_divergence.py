"""Divergence, and all that looks like it and is not."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from lrwatch.core.detectors.divergence import GROUP, PATIENCE, DivergenceDetector
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats
from lrwatch.testing.synthetic.curves import NOISES, exponential

N = 4000
FALLING = exponential(N, 600, 10.0, 5.0)
NOISE = 0.1 * np.random.default_rng(0).standard_normal(N)


def found(values: Floats, direction: Literal["min", "max"] = "min") -> list[int]:
    return [
        i
        for i, _ in DivergenceDetector("loss", DetectOptions(direction=direction)).feed(
            list(range(len(values))), values.tolist()
        )
    ]


def from_index(at: int, shape: Any) -> Any:
    """`shape` from index `at` on, zeros before."""
    return np.concatenate([np.zeros(at), shape[: N - at]])


STAYS_SILENT = {
    "a healthy curve": FALLING + NOISE,
    "single spikes": FALLING + NOISE + 100 * (np.arange(N) % 97 == 0),
    "a spike that recovers in 40 values": FALLING + NOISE + from_index(3000, 5 * np.exp(-np.arange(N) / 10)),
    "a slow small rise": FALLING + NOISE + from_index(2000, 0.0003 * np.arange(N)),
    "a step down, then a slow rise": FALLING + NOISE - from_index(2000, 0.8 * np.exp(-np.arange(N) / 1000)),
    "noise around a level": 3 + NOISE,
    "noise that doubles": 3 + NOISE * np.where(np.arange(N) > 2000, 2, 1),
    "a constant": np.full(N, 2.0),
    "too short": FALLING[:GROUP],
}


@pytest.mark.parametrize("name", STAYS_SILENT)
def test_what_is_not_divergence_stays_silent(name: str) -> None:
    assert found(STAYS_SILENT[name]) == []


@pytest.mark.parametrize("noise", NOISES)
def test_noise_of_any_kind_around_a_healthy_curve_stays_silent(noise: str) -> None:
    for seed in range(5):
        assert found(FALLING + 0.1 * NOISES[noise](np.random.default_rng(seed), N)) == []


@pytest.mark.parametrize("noise", ["ar", "ema"])
def test_noise_that_wanders_around_a_level_is_not_divergence(noise: str) -> None:
    for seed in range(10):
        assert found(3 + 0.1 * NOISES[noise](np.random.default_rng(seed), N)) == []


def test_a_loss_that_diverges_within_its_first_values_is_found() -> None:
    values = 3 + NOISE + from_index(30, 0.05 * np.arange(N))
    (at,) = found(values)
    assert at < 200


def test_a_loss_that_leaves_its_level_and_stays_away_is_found_within_five_groups() -> None:
    (at,) = found(FALLING + NOISE + from_index(2000, np.full(N, 3.0)))
    assert 2000 + (PATIENCE - 1) * GROUP <= at < 2000 + (PATIENCE + 1) * GROUP


def test_a_slow_divergence_is_found_when_a_quarter_of_the_gain_is_lost() -> None:
    values = FALLING + NOISE + from_index(2000, 0.002 * np.arange(N))
    (at,) = found(values)
    lost = 0.002 * (at - 2000)
    assert 0.25 * 4.8 < lost < 0.4 * 4.8


def test_it_is_said_again_only_after_the_loss_came_back() -> None:
    twice = FALLING + NOISE
    twice[2000:2500] += 4
    twice[3000:3500] += 4
    first, second = found(twice)
    assert 2000 < first < 2500
    assert 3000 < second < 3500


def test_a_metric_to_maximise_is_the_same_mirrored() -> None:
    values = FALLING + NOISE + from_index(2000, np.full(N, 3.0))
    assert found(-values, "max") == found(values) != []
    assert found(-FALLING, "max") == []


def test_a_run_that_starts_at_its_best_is_judged_by_its_noise() -> None:
    values = 2 + NOISE
    assert len(found(values + from_index(1000, np.full(N, 1.5)))) == 1
    assert found(values + from_index(1000, np.full(N, 0.3))) == []


def test_the_evidence_is_in_the_finding() -> None:
    values = FALLING + NOISE + from_index(2000, np.full(N, 3.0))
    ((at, finding),) = DivergenceDetector("loss").feed(list(range(0, 5 * N, 5)), values.tolist())
    assert (finding.kind, finding.metric, finding.step) == ("divergence", "loss", 5 * at)
    numbers = [finding.evidence[key] for key in ("best", "now", "start")]
    assert numbers == pytest.approx([5.17, 8.17, 9.9], abs=0.2)


def short(n: int, left_at: int, lost: float = 1.0, kind: str = "gauss", seed: int = 0, size: float = 0.05) -> Floats:
    """A run of `n` values that gains 2 and loses some of it at once."""
    at = np.arange(n)
    noise = size * NOISES[kind](np.random.default_rng(seed), n)
    return np.asarray(1 + 2 * np.exp(-at / (left_at / 5)) + lost * (at >= left_at) + noise, np.float64)


@pytest.mark.parametrize("left_at", [50, 80, 120])
@pytest.mark.parametrize("kind", ["gauss", "t3", "lognormal"])
def test_a_run_of_a_hundred_values_that_leaves_its_level_is_found_once_and_soon(left_at: int, kind: str) -> None:
    for seed in range(3):
        values = short(3 * left_at, left_at, kind=kind, seed=seed)
        (at,) = found(values)
        assert left_at + 8 <= at <= left_at + max(12, 0.3 * left_at)
        assert found(-values, "max") == [at]


RETURNS = {
    "it is back after a few values": short(150, 80) - from_index(88, np.ones(N))[:150],
    "it is on its way back": short(150, 80) - from_index(80, 1 - np.exp(-np.arange(N) / 15))[:150],
    "it creeps away": short(150, 80, 0.0) + from_index(60, np.arange(N) / 100)[:150],
    "it has gained nothing": 3 + short(150, 80) * 0.0 + 0.5 * (np.arange(150) > 80),
}


@pytest.mark.parametrize("name", RETURNS)
def test_what_a_short_run_does_as_well_is_not_divergence(name: str) -> None:
    assert found(RETURNS[name]) == []


def test_few_values_of_any_kind_of_noise_stay_silent() -> None:
    for kind in NOISES:
        assert [found(short(250, 100, 0.0, kind, seed, 0.2)) for seed in range(4)] == 4 * [[]]
