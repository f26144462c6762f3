"""A line over the logarithm of the steps: exact without noise, and with errors that hold under white and under correlated noise."""

from __future__ import annotations

import numpy as np
import pytest

from lrwatch.core.curve import Curve
from lrwatch.core.sample import Floats
from lrwatch.core.stats.log_line import GROUPS, MIN_BLOCKS, fit
from lrwatch.core.watched_curve import BLOCKS

N = 2000


def curve_of(values: Floats, first: int = 1, every: int = 1) -> Curve:
    curve = Curve(BLOCKS)
    curve.add(first + every * np.arange(len(values)), values)
    return curve


def falling(gain: float, n: int = N, every: int = 1) -> Floats:
    return np.asarray(5 - gain * np.log1p(1.0 + every * np.arange(n)), np.float64)


@pytest.mark.parametrize("gain", [0.3, 0.0, -0.2])
@pytest.mark.parametrize(("n", "every"), [(50, 1), (N, 1), (N, 50)])
def test_a_line_without_noise_is_found_again(gain: float, n: int, every: int) -> None:
    end = 1 + n * every
    line = fit(curve_of(falling(gain, n, every), every=every), end / 2, end)
    assert line is not None
    assert line.gain == pytest.approx(gain, abs=1e-4)
    assert line.level == pytest.approx(5 - gain * np.log1p(end), abs=1e-4)
    assert line.step == end
    assert line.first == pytest.approx(end / 2, abs=5 * every + end / 400)
    assert line.noise < 1e-4


def test_a_metric_to_maximise_is_the_same_line_with_the_other_sign() -> None:
    values = falling(0.3) + 0.1 * np.random.default_rng(0).standard_normal(N)
    assert fit(curve_of(-values), 1000, N + 1, sign=-1.0) == fit(curve_of(values), 1000, N + 1)


def test_the_line_ends_before_its_end_whatever_comes_then() -> None:
    values = falling(0.3, 512)
    later = np.concatenate([values[:400], values[400:] + 100])
    assert fit(curve_of(later), 200, 401) == fit(curve_of(values), 200, 401)


def test_few_blocks_are_no_line() -> None:
    assert fit(Curve(), 0, 100) is None
    curve = curve_of(falling(0.3, 100))
    assert fit(curve, 101 - MIN_BLOCKS, 101) is not None
    assert fit(curve, 102 - MIN_BLOCKS, 101) is None
    assert fit(curve, 500, 600) is None


def test_a_constant_curve_has_a_line_without_error() -> None:
    line = fit(curve_of(np.full(N, 2.0)), 1000, N + 1)
    assert line is not None
    assert (line.level, line.gain, line.noise, line.gain_error) == pytest.approx((2.0, 0.0, 0.0, 0.0), abs=1e-9)


def correlated(rng: np.random.Generator, n: int, rho: float) -> Floats:
    """Noise of an autoregression, with a standard deviation of 1 from its first value on."""
    white = rng.standard_normal(n)
    if not rho:
        return white
    values = np.empty(n)
    now = white[0]
    for i, each in enumerate(white.tolist()):
        now = rho * now + (1 - rho * rho) ** 0.5 * each
        values[i] = now
    return values


def scores(rho: float, n: int = N, seeds: int = 200) -> Floats:
    """By how many standard errors level and gain miss the truth, shape (seeds, 2)."""
    found = []
    for seed in range(seeds):
        values = falling(0.3, n) + 0.1 * correlated(np.random.default_rng(seed), n, rho)
        line = fit(curve_of(values), n / 2, n + 1)
        assert line is not None
        level = 5 - 0.3 * np.log1p(n + 1)
        found.append([(line.level - level) / line.level_variance**0.5, (line.gain - 0.3) / line.gain_error])
    return np.array(found)


@pytest.mark.parametrize(("rho", "most"), [(0.0, 1.2), (0.9, 1.3)])
def test_errors_are_honest(rho: float, most: float) -> None:
    z = scores(rho)
    assert np.all(np.abs(z.mean(axis=0)) < 0.3)
    assert np.all(z.std(axis=0) > 0.7)
    assert np.all(z.std(axis=0) < most)
    assert np.all((np.abs(z) > 3).mean(axis=0) <= 0.03)


def test_the_noise_is_that_of_one_value_as_means_have_it() -> None:
    white = [fit(curve_of(2 + np.random.default_rng(seed).standard_normal(N)), 0, N + 1) for seed in range(20)]
    assert np.mean([line.noise for line in white if line is not None]) == pytest.approx(1.0, abs=0.25)
    assert GROUPS < BLOCKS
