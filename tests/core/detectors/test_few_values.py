"""Plateaus in runs of less than a hundred values, such as one an epoch."""

from __future__ import annotations

import numpy as np
import pytest

from lrwatch.core.detectors.plateau import PlateauDetector
from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats

AT = np.arange(100)


def plateaus(values: Floats, options: DetectOptions | None = None) -> list[int]:
    detector = PlateauDetector("val_loss", options or DetectOptions())
    outputs = detector.feed(list(range(1, len(values) + 1)), values.tolist())
    return [output.step for _, output in outputs if isinstance(output, Finding)]


def noisy(mean: Floats, size: float, seed: int) -> Floats:
    return np.asarray(mean * (1 + size * np.random.default_rng(seed).standard_normal(len(mean))), np.float64)


@pytest.mark.parametrize("size", [0.003, 0.01])
def test_a_plateau_behind_25_epochs_of_progress_is_found_within_40_epochs_of_it(size: float) -> None:
    mean = 1 + 1.5 * np.maximum(0, 1 - AT / 25)
    at = [plateaus(noisy(mean, size, seed))[:1] for seed in range(10)]
    assert all(step > 25 for found in at for step in found)
    assert sum(bool(found) and found[0] <= 65 for found in at) >= 8


@pytest.mark.parametrize("power", [0.2, 0.3, 0.5])
@pytest.mark.parametrize("size", [0.0, 0.003, 0.03, 0.1])
def test_a_hundred_values_that_improve_are_no_plateau(power: float, size: float) -> None:
    assert [plateaus(noisy(np.power(1.0 + AT, -power), size, seed)) for seed in range(5)] == 5 * [[]]


def test_noise_that_wanders_is_not_believed() -> None:
    white = np.random.default_rng(0).standard_normal(100)
    for i in range(1, 100):
        white[i] = 0.9 * white[i - 1] + 0.19**0.5 * white[i]
    assert plateaus((1.0 + AT) ** -0.3 * (1 + 0.03 * white)) == []


def test_a_horizon_in_steps_has_no_rule_of_its_own() -> None:
    assert plateaus(np.ones(60), DetectOptions(horizon=1000)) == []


def test_few_values_that_have_not_improved_are_no_plateau() -> None:
    assert plateaus(noisy(np.full(95, 3.0), 0.02, 0)) == []


def test_while_it_cannot_tell_it_says_from_which_step_on_it_can() -> None:
    values = noisy(3 + np.exp(-np.arange(3000) / 20), 0.01, 0)
    for options in (DetectOptions(), DetectOptions(horizon=1000, min_improvement=0.002)):
        detector = PlateauDetector("loss", options)
        assert PlateauDetector("loss", options).tells_at is None
        said: list[int] = []
        for step in range(3000):
            outputs = detector.feed([10 * step], [float(values[step])])
            if any(isinstance(output, Finding) for _, output in outputs):
                break
            if detector.tells_at is not None:
                said.append(detector.tells_at)
        assert said[0] == max(190, 1000 if options.horizon == 1000 else 0)
        assert min(said) <= 10 * step
        assert np.median(said[-50:]) == pytest.approx(10 * step, rel=0.6)
        assert detector.tells_at is None


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_before_the_first_look_of_a_phase_what_is_said_is_never_past(share: float) -> None:
    """A horizon that is a fraction of the run gets longer while the phase gets older."""
    detector = PlateauDetector("loss", DetectOptions(horizon=f"{100 * share:g}%"))
    values = 2 + 0.2 * np.random.default_rng(0).standard_normal(4000)
    for step in range(2000):
        detector.feed([step], [float(values[step])])
    detector.restart()
    said: list[int] = []
    for step in range(2000, 4000):
        detector.feed([step], [float(values[step])])
        if detector.trend is not None:
            break
        if detector.tells_at is not None:
            assert detector.tells_at >= step
            said.append(detector.tells_at)
    assert said[0] == pytest.approx(2000 / (1 - share), rel=0.01)
    assert step == pytest.approx(said[0], rel=0.02)
