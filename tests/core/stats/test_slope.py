"""The slope and its standard error."""

from __future__ import annotations

import numpy as np
import pytest

from lrwatch.core.sample import Floats
from lrwatch.core.stats.slope import MAX_BLOCKS, MIN_BLOCKS, Outline, Slope, fit
from lrwatch.core.stats.student import t_quantile
from lrwatch.testing.synthetic.curves import NOISES

SEEDS = 400


def fitted(window: Floats) -> Slope:
    slope = fit(window)
    assert slope is not None
    return slope


@pytest.mark.parametrize("n", [MIN_BLOCKS, 21, 64, 127, 128])
@pytest.mark.parametrize(("level", "per_block"), [(3.0, -0.01), (-5.0, 0.2), (1e-6, -1e-9), (1e9, 1.0), (0.0, -1.0)])
def test_a_line_without_noise_is_found_exactly(n: int, level: float, per_block: float) -> None:
    slope = fitted(np.asarray(level + per_block * np.arange(n), np.float64))
    assert slope.per_block == pytest.approx(per_block, rel=1e-6)
    assert slope.end == pytest.approx(level + per_block * (n - 1), rel=1e-9)
    assert slope.error < 1e-6 * abs(per_block)
    assert slope.blocks == 1


def test_a_long_window_is_averaged_down_and_its_newest_values_count() -> None:
    n = 5 * MAX_BLOCKS - 3
    slope = fitted(np.asarray(10 - 0.5 * np.arange(n), np.float64))
    assert slope.blocks == 5
    assert slope.per_block == pytest.approx(5 * -0.5)
    assert slope.end == pytest.approx(10 - 0.5 * (n - 1 - 2))  # the middle of the last five


def test_too_few_values_have_no_slope() -> None:
    assert fit(np.arange(MIN_BLOCKS - 1, dtype=float)) is None
    assert fit(np.empty(0)) is None


def test_a_constant_has_the_slope_0_for_certain() -> None:
    slope = fitted(np.full(50, 0.1))
    assert (slope.per_block, slope.error, slope.end, slope.end_error) == (0.0, 0.0, 0.1, 0.0)


@pytest.mark.parametrize("n", [64, 400])
@pytest.mark.parametrize("size", [1e300, 1e-300, 5e-324, np.finfo(float).max])
def test_values_of_any_size_give_a_finite_slope_or_none(n: int, size: float) -> None:
    signs = np.where(np.random.default_rng(0).random(n) < 0.5, -1.0, 1.0)
    slope = fit(size * signs)
    if slope is None:
        assert size == np.finfo(float).max  # differences leave the range of a double
    else:
        assert np.isfinite([slope.per_block, slope.error, slope.end, slope.end_error]).all()


def simulated(noise: str, n: int, per_block: int) -> tuple[Floats, Floats, Floats, int]:
    slopes, errors, ends = [], [], []
    df = 0
    for seed in range(SEEDS):
        values = NOISES[noise](np.random.default_rng(seed), n * per_block).reshape(n, per_block).mean(axis=1)
        slope = fitted(values - 0.05 * np.arange(n))
        slopes.append(slope.per_block + 0.05)
        errors.append(slope.error)
        ends.append((slope.end + 0.05 * (n - 1)) / slope.end_error)
        df = slope.df
    return np.array(slopes), np.array(errors), np.array(ends), df


@pytest.mark.parametrize(
    ("noise", "n", "per_block"),
    [("gauss", 64, 1), ("gauss", 20, 1), ("t3", 64, 1), ("lognormal", 64, 1), ("ar", 64, 20), ("ar", 128, 20)],
)
def test_the_standard_error_is_about_that_of_many_simulated_slopes(noise: str, n: int, per_block: int) -> None:
    slopes, errors, ends, df = simulated(noise, n, per_block)
    # 400 seeds know a standard deviation to 3.5 %. A few large values towards the ends pass for more noise there.
    assert 0.9 < np.sqrt(np.mean(errors**2)) / slopes.std() < 1.2
    assert abs(slopes.mean()) < 4 * slopes.std() / SEEDS**0.5
    # 5 % of 400 is 20; a binomial of that mean is beyond 36 once in 2,000.
    assert np.sum(np.abs(slopes) > t_quantile(0.025, df) * errors) <= 36
    assert np.sum(np.abs(ends) > t_quantile(0.025, df)) <= 36


def test_strong_correlation_between_the_values_of_a_window_still_widens_the_error() -> None:
    slopes, errors, _, _ = simulated("ar", 128, 1)
    naive = 1 / np.sqrt(128 * (128**2 - 1) / 12)
    assert slopes.std() > 3 * naive
    assert np.sqrt(np.mean(errors**2)) > 2 * naive


def margins(kind: str, n: int, per_block: int, before: bool) -> tuple[Floats, list[Slope]]:
    """Slopes of noise without a trend, with or without the window before it."""
    slopes = []
    for seed in range(SEEDS):
        values = NOISES[kind](np.random.default_rng(seed), 2 * n * per_block).reshape(2 * n, per_block).mean(axis=1)
        slope = fit(values[n:], values[:n] if before else None)
        assert slope is not None
        slopes.append(slope)
    return np.array([slope.per_block for slope in slopes]), slopes


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "per_block"), [("gauss", 1), ("t3", 4), ("lognormal", 4), ("ar", 16), ("ema", 16)])
@pytest.mark.parametrize("before", [False, True])
def test_the_sharp_reading_has_more_degrees_of_freedom_and_errs_hardly_more_often(
    noise: str, per_block: int, before: bool
) -> None:
    estimates, slopes = margins(noise, 125, per_block, before)
    assert (slopes[0].df, slopes[0].sharp_df) == (12, 40)
    sharp = np.array([slope.sharp_error for slope in slopes])
    assert 0.75 < np.sqrt(np.mean(sharp**2)) / estimates.std() < 1.4
    # 5 % of 400 is 20; a binomial of that mean is beyond 36 once in 2,000.
    assert np.sum(np.abs(estimates) > [slope.margin(0.025) for slope in slopes]) <= 36


def test_where_little_may_go_wrong_the_sharp_reading_bounds_tighter_and_is_absent_in_short_windows() -> None:
    _, slopes = margins("gauss", 125, 1, True)
    ratios = [slope.margin(1e-5) / (t_quantile(0.3e-5, slope.df) * slope.error) for slope in slopes]
    assert np.median(ratios) < 0.8
    short = fitted(np.random.default_rng(0).standard_normal(40))
    assert (short.sharp_error, short.sharp_df) == (np.inf, 0)
    assert short.margin(0.01) == t_quantile(0.01, short.df) * short.error


def test_noise_that_grows_towards_the_ends_widens_the_error() -> None:
    n = 125
    ends = np.abs(np.arange(n) - n // 2) > n // 3
    errors, slopes = [], []
    for seed in range(SEEDS):
        slope = fitted(np.random.default_rng(seed).standard_normal(n) * np.where(ends, 3.0, 0.3))
        errors.append(slope.error)
        slopes.append(slope.per_block)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(slopes), rel=0.15)


@pytest.mark.parametrize("n", [20, 64, 128, 500])
def test_an_outline_never_claims_a_larger_margin_than_the_fit_has(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(50):
        window = np.cumsum(rng.standard_normal(n)) * rng.choice([0.0, 1.0]) + rng.standard_normal(n)
        outline, slope = Outline(window), fitted(window)
        assert outline.per_block == pytest.approx(slope.per_block)
        assert outline.df == slope.df
        for alpha in (0.01, 1e-6):
            assert outline.margin_at_least(alpha) <= slope.margin(alpha) * (1 + 1e-9)
        assert outline.error_at_least() <= slope.error * (1 + 1e-9)
