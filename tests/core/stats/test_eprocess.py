"""The e-processes: what chance does to them, what a rise does, and that no float breaks them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from lrwatch.core.sample import Floats
from lrwatch.core.stats.eprocess import Dependence, RiseDetector, SlopeProcess, log_sum, log_weight
from lrwatch.testing.synthetic.curves import NOISES, exponential

SERIES = 1000
BLOCKS = 150
BOUND = 20.0


def correlated(rng: np.random.Generator, n: int, correlation: float) -> Floats:
    noise = rng.standard_normal(n)
    for i in range(1, n):
        noise[i] = correlation * noise[i - 1] + (1 - correlation**2) ** 0.5 * noise[i]
    return noise


def highest(values: Floats, *, careful: bool = False, null: float = 0.0) -> float:
    """The highest that the e-process of a rise from the first value on ever is, in logarithms."""
    process, dependence = SlopeProcess(), Dependence()
    top = -math.inf
    for value in values.tolist():
        process.add(value)
        dependence.add(value)
        top = max(top, process.log_e(dependence.variance_factor if careful else 1.0, null))
    return top


def share(tops: list[float], bound: float) -> float:
    return float(np.mean(np.array(tops) >= math.log(bound)))


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["gauss", "t3", "lognormal"])
def test_without_a_rise_one_process_hardly_ever_reaches_its_bound(noise: str) -> None:
    rng = np.random.default_rng(0)
    tops = [highest(NOISES[noise](rng, BLOCKS)) for _ in range(SERIES)]
    # One in twenty is allowed; three standard deviations of the count on top.
    assert share(tops, BOUND) <= 1 / BOUND + 3 * (0.05 * 0.95 / SERIES) ** 0.5
    assert share(tops, 2) > 0  # it is not silent altogether


def test_a_convex_decay_never_looks_like_a_rise() -> None:
    rng = np.random.default_rng(1)
    tops = [highest(exponential(BLOCKS, 30, 10, 0) + rng.standard_normal(BLOCKS)) for _ in range(50)]
    assert share(tops, BOUND) == 0


def test_correlated_noise_is_held_by_the_variance_factor() -> None:
    rng = np.random.default_rng(2)
    curves = [correlated(rng, BLOCKS, 0.8) for _ in range(100)]
    naive = share([highest(curve) for curve in curves], BOUND)
    careful = share([highest(curve, careful=True) for curve in curves], BOUND)
    assert naive > 0.5
    assert careful < 0.25


def test_the_variance_factor_is_one_for_white_noise_and_sees_slow_noise_under_fast_noise() -> None:
    rng = np.random.default_rng(3)

    def factor(values: Floats) -> float:
        dependence = Dependence()
        for value in values.tolist():
            dependence.add(value)
        return dependence.variance_factor

    assert np.median([factor(rng.standard_normal(400)) for _ in range(20)]) < 1.6
    assert 5 < np.median([factor(correlated(rng, 400, 0.8)) for _ in range(20)]) < 20
    mixed = [correlated(rng, 400, 0.9) + rng.standard_normal(400) for _ in range(20)]
    assert np.median([factor(values) for values in mixed]) > 3


def test_a_real_rise_is_certain_soon() -> None:
    rng = np.random.default_rng(4)
    tops = [highest(rng.standard_normal(100) + 0.05 * np.arange(100)) for _ in range(50)]
    assert share(tops, 1000) == 1


def test_the_null_hypothesis_may_be_any_slope() -> None:
    rng = np.random.default_rng(5)
    falling = rng.standard_normal(200) - 0.1 * np.arange(200)
    assert highest(falling) < math.log(BOUND)
    assert highest(falling, null=-0.2) > 10
    assert highest(falling, null=-0.1) < math.log(BOUND)


def test_the_closed_form_is_that_of_least_squares() -> None:
    values = np.random.default_rng(6).standard_normal(50) + 0.1 * np.arange(50)
    process = SlopeProcess()
    for value in values.tolist():
        process.add(value)
    k = np.arange(50.0)
    slope, level = np.polyfit(k, values, 1)
    spread = 50 * (50**2 - 1) / 12
    t = slope / math.sqrt(float(np.sum((values - level - slope * k) ** 2)) / 48 / spread)
    g = 30 / (30 + spread)
    expected = 0.5 * math.log(g) - 24.5 * (math.log1p(g * t * t / 48) - math.log1p(t * t / 48))
    expected += math.log(math.erfc(-t * math.sqrt((1 - g) / 2)))
    assert process.slope == pytest.approx(slope)
    assert process.log_e(precision=30) == pytest.approx(expected)


def test_scale_and_level_change_nothing() -> None:
    values = np.random.default_rng(7).standard_normal(60) + 0.1 * np.arange(60)
    top = highest(values)
    assert highest(values * 1e300) == pytest.approx(top)
    assert highest(values * 1e-300) == pytest.approx(top)
    assert highest(values + 1e6) == pytest.approx(top, rel=1e-6)


@pytest.mark.parametrize(
    "values", [[0.1] * 50, [1.8e308, -1.8e308 + 1e293] * 25, [5e-324, 0.0, 1e-323] * 20, [0.0, 1e-300, 1e300] * 20]
)
def test_hard_floats_give_a_number_and_no_evidence(values: list[float]) -> None:
    detector = RiseDetector()
    for value in values:
        detector.add(value if math.isfinite(value) else 1.7e308)
        assert not math.isnan(detector.log_sum())
    assert detector.log_weighted() < math.log(BOUND)


def test_a_line_without_noise_rises() -> None:
    assert highest(np.arange(50.0)) > 50


def test_a_rise_from_an_unknown_moment_on_is_found_and_chance_is_not() -> None:
    rng = np.random.default_rng(8)
    early = found = 0
    for _ in range(20):
        detector = RiseDetector()
        values = rng.standard_normal(400) + 0.05 * np.maximum(0, np.arange(400) - 250)
        for i, value in enumerate(values.tolist()):
            detector.add(value)
            if i % 10 == 0 and detector.log_weighted() > math.log(100):
                early, found = early + (i < 250), found + (i >= 250)
                break
    assert (early, found) == (0, 20)


def test_under_a_hundred_starts_are_kept_of_very_many_blocks() -> None:
    detector = RiseDetector()
    for value in np.random.default_rng(9).standard_normal(5000).tolist():
        detector.add(value)
    assert 40 < len(detector.starts) < 60
    assert len(json.dumps(detector.state())) < 10_000


def test_the_weights_of_all_starts_add_up_to_one_at_most() -> None:
    assert 0.999 < sum(math.exp(log_weight(start)) for start in range(10_000)) <= 1


def test_the_sum_of_logarithms_is_safe() -> None:
    assert log_sum([]) == log_sum([-math.inf]) == -math.inf
    assert log_sum([1000.0, 1000.0]) == pytest.approx(1000 + math.log(2))


def test_the_state_goes_through_json() -> None:
    values = np.random.default_rng(10).standard_normal(200).tolist()
    detector = RiseDetector()
    for value in values[:100]:
        detector.add(value)
    again = RiseDetector()
    again.restore(json.loads(json.dumps(detector.state())))
    for value in values[100:]:
        detector.add(value)
        again.add(value)
    assert again.log_sum() == detector.log_sum()
    detector.restart()
    assert detector.log_sum() == -math.inf
