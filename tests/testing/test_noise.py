"""Noise is what its name says: size, correlation, tails, spikes, from the first value on."""

from __future__ import annotations

import numpy as np
import pytest

from lrwatch.core.sample import Floats
from lrwatch.testing.synthetic.noise import (
    NOISES,
    SPIKE_EVERY,
    SPIKE_SIZE,
    Noise,
    autoregression,
    averaged,
    lognormal,
    mirrored,
    periodic,
    recursion,
    spikes,
    student,
)

N = 200_000


def drawn(noise: Noise, n: int = N, seed: int = 1) -> Floats:
    return noise(np.random.default_rng(seed), n)


def alike(values: Floats, lag: int) -> float:
    """Correlation of values with those `lag` further on."""
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 99, 100, 101, 1234])
@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.5, 0.999])
def test_the_recursion_is_that_of_a_plain_loop(n: int, correlation: float) -> None:
    shocks = np.random.default_rng(n).standard_normal(n)
    expected, last = [], 0.0
    for i, shock in enumerate(shocks.tolist()):
        last = shock if i == 0 else correlation * last + (1 - correlation**2) ** 0.5 * shock
        expected.append(last)
    assert recursion(shocks, correlation) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("correlation", [-0.5, 0.5, 0.9, 0.98])
def test_an_autoregression_has_its_correlation_at_every_lag(correlation: float) -> None:
    values = drawn(autoregression(correlation))
    for lag in (1, 2, 5):
        assert alike(values, lag) == pytest.approx(correlation**lag, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.9, 0.99, 0.999])
def test_an_autoregression_is_stationary_from_the_first_value_on(correlation: float) -> None:
    runs = np.array([drawn(autoregression(correlation), 50, seed) for seed in range(2000)])
    assert runs[:, 0].std() == pytest.approx(1, abs=0.05)
    assert runs[:, -1].std() == pytest.approx(1, abs=0.05)
    assert np.abs(runs.mean(axis=0)).max() < 0.1
    assert np.corrcoef(runs[:, 0], runs[:, 1])[0, 1] == pytest.approx(correlation, abs=0.02)


def test_what_a_logger_smooths_keeps_some_of_its_skew() -> None:
    raw, smooth = drawn(lognormal), drawn(averaged(lognormal, 0.9))
    assert smooth.std() == pytest.approx(1, abs=0.05)
    assert alike(smooth, 1) == pytest.approx(0.9, abs=0.02)
    # Cumulants of a moving average: the third is that of the raw values times (1 - b^2)^1.5 / (1 - b^3).
    shrunk = (1 - 0.9**2) ** 1.5 / (1 - 0.9**3)
    assert float((smooth**3).mean()) == pytest.approx(shrunk * float((raw**3).mean()), rel=0.2)


@pytest.mark.parametrize("df", [2.2, 3.0, 10.0])
def test_a_student_has_the_tail_of_its_degrees_of_freedom(df: float) -> None:
    scaled = np.abs(drawn(student(df))) * (df / (df - 2)) ** 0.5
    # Far out the tail is a power: beyond x and 3 x lie shares whose ratio is 3^df.
    near, far = (float((scaled > x).mean()) for x in (5.0, 15.0))
    if df < 4:
        assert np.log(near / far) / np.log(3) == pytest.approx(df, rel=0.15)
    assert float((scaled > 2.0).mean()) == pytest.approx({2.2: 0.171, 3.0: 0.139, 10.0: 0.0734}[df], abs=0.005)


def test_skew_is_upwards_and_downwards_where_mirrored() -> None:
    up, down = drawn(lognormal), drawn(mirrored(lognormal))
    assert (up**3).mean() > 1
    assert np.array_equal(up, -down)


def test_spikes_come_as_often_and_as_large_as_said() -> None:
    values = drawn(spikes)
    large = values[values > SPIKE_SIZE / 2]
    assert len(large) / N == pytest.approx(1 / SPIKE_EVERY, rel=0.1)
    assert large.mean() == pytest.approx(SPIKE_SIZE, abs=0.2)
    assert values[values < SPIKE_SIZE / 2].std() == pytest.approx(1, abs=0.01)


def test_periodic_noise_comes_back_after_a_period_and_not_before() -> None:
    values = drawn(periodic(500, 0.5))
    assert alike(values, 500) == pytest.approx(0.5, abs=0.02)
    assert abs(alike(values, 250)) < 0.1
    assert values.std() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("n", [1, 2, 30])
def test_short_noise_is_noise_too(noise: str, n: int) -> None:
    assert np.isfinite(drawn(NOISES[noise], n)).sum() == n
