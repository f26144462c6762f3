"""Curves with known truth."""

from __future__ import annotations

import numpy as np
import pytest

from lrwatch.testing.synthetic.curves import NOISES, curve, exponential, flat_from, hinge, line, power_law, stairs


@pytest.mark.parametrize("noise", NOISES)
def test_a_noise_is_centred_of_unit_size_and_seeded(noise: str) -> None:
    make = NOISES[noise]
    values = make(np.random.default_rng(1), 50_000)
    assert values.shape == (50_000,)
    assert np.array_equal(values, make(np.random.default_rng(1), 50_000))
    assert not np.array_equal(values, make(np.random.default_rng(2), 50_000))
    if noise == "spikes":
        values = values[values < 8]
    assert abs(values.mean()) < 0.1
    assert values.std() == pytest.approx(1, abs=0.15)


def test_the_truth_of_each_shape() -> None:
    n, horizon = 10_000, 1000.0
    assert flat_from(hinge(n, 4000), horizon, 0.01) == 4000
    # (4 - 2) / 1000 * exp(-i / 1000) * 1000 = 0.02: i = 1000 ln 100
    assert flat_from(exponential(n, 1000), horizon, 0.02, relative=False) == pytest.approx(1000 * np.log(100), abs=2)
    assert flat_from(line(n, 0.0001), horizon, 0.09, relative=False) is None
    assert flat_from(line(n, 0.0001), horizon, 0.11, relative=False) == 0
    assert flat_from(stairs(n, 4), horizon, 0.01) == 8000
    assert flat_from(np.full(n, 3.0), horizon, 0.01) == 0


def test_a_power_law_improves_by_the_same_share_of_itself_in_each_tenth_of_the_run() -> None:
    mean = power_law(100_000, 0.1)
    for at in (1000, 10_000, 90_000):
        assert 1 - mean[int(at * 1.1)] / mean[at] == pytest.approx(1 - 1.1**-0.1, rel=0.01)


def test_a_curve_has_its_mean_under_its_noise() -> None:
    found = curve(hinge(5000, 2000), "gauss", 0.5, 7, horizon=500, delta=0.01)
    assert found.flat_from == 2000
    assert (found.values - found.mean).std() == pytest.approx(0.5, rel=0.05)
