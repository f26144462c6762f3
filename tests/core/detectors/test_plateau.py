"""The plateau detector on curves with known truth."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lrwatch.core.detectors.base import Output
from lrwatch.core.detectors.plateau import FAR_LOOKS, LOOKS, PlateauDetector, Trend
from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats, Ints
from lrwatch.testing import NOISES, curve
from lrwatch.testing.synthetic.curves import exponential, hinge, line, power_law

N = 12_000
HORIZON = 1000
SEEDS = range(5)
ABSOLUTE = DetectOptions(horizon=HORIZON, min_improvement=0.1, relative=False)


def run(detector: PlateauDetector, steps: Ints, values: Floats) -> list[Output]:
    """What it yields for the values, without their places."""
    return [output for _, output in detector.feed(steps.tolist(), values.tolist())]


def findings(options: DetectOptions, values: Floats, steps: Ints | None = None) -> list[Finding]:
    steps = np.arange(len(values)) if steps is None else steps
    return [output for output in run(PlateauDetector("loss", options), steps, values) if isinstance(output, Finding)]


def found(options: DetectOptions, values: Floats, steps: Ints | None = None) -> list[int]:
    return [finding.step for finding in findings(options, values, steps)]


def trends(detector: PlateauDetector, steps: Ints, values: Floats) -> list[Trend]:
    return [output for output in run(detector, steps, values) if isinstance(output, Trend)]


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
def test_a_plateau_is_found_after_it_began_and_not_before(noise: str) -> None:
    for seed in SEEDS:
        truth = curve(hinge(N, 4000), noise, 0.1, seed, horizon=HORIZON, delta=0.1, relative=False)
        steps = found(ABSOLUTE, truth.values)
        assert truth.flat_from == 4000
        assert len(steps) == 1
        assert 4000 < steps[0] < N


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("sd", [0.02, 0.5])
def test_a_line_that_improves_half_more_than_was_asked_is_no_plateau(noise: str, sd: float) -> None:
    for seed in SEEDS:
        truth = curve(line(N, 1.5 * 0.1 / HORIZON), noise, sd, seed, horizon=HORIZON, delta=0.1, relative=False)
        assert truth.flat_from is None
        assert found(ABSOLUTE, truth.values) == []


@pytest.mark.slow
def test_a_curve_that_flattens_slowly_is_no_plateau_before_it_did() -> None:
    for seed in SEEDS:
        truth = curve(exponential(30_000, 3000), "gauss", 0.05, seed, horizon=HORIZON, delta=0.1, relative=False)
        assert truth.flat_from is not None
        steps = found(ABSOLUTE, truth.values)
        assert len(steps) == 1
        assert steps[0] >= truth.flat_from


@pytest.mark.slow
def test_with_the_defaults_a_power_law_is_never_a_plateau_and_its_end_is() -> None:
    for seed in SEEDS:
        healthy = curve(power_law(30_000), "gauss", 0.1, seed, horizon=HORIZON, delta=0.005)
        assert found(DetectOptions(), healthy.values) == []
        ended = healthy.values.copy()
        ended[8000:] += healthy.mean[8000] - healthy.mean[8000:]
        (step,) = found(DetectOptions(), ended)
        assert 8000 < step < 30_000


def test_relative_means_relative_to_the_level() -> None:
    values = curve(line(N, 0.001, start=20.0), "gauss", 0.1, 0, horizon=HORIZON, delta=0.1).values
    assert found(DetectOptions(horizon=HORIZON, min_improvement=0.02), values) == []  # 1 of 8 to 20 is 5 to 12 %
    assert len(found(DetectOptions(horizon=HORIZON, min_improvement=0.2), values)) == 1
    options = DetectOptions(horizon=HORIZON, min_improvement=0.02)
    flat = curve(hinge(N, 4000), "gauss", 0.1, 0, horizon=HORIZON, delta=0.02).values
    assert found(options, flat) == found(options, 1000 * flat)


def test_a_metric_to_maximise_is_the_same_mirrored() -> None:
    values = curve(hinge(N, 4000), "t3", 0.1, 1, horizon=HORIZON, delta=0.1).values
    rising = DetectOptions(horizon=HORIZON, min_improvement=0.1, relative=False, direction="max")
    assert found(rising, -values) == found(ABSOLUTE, values) != []
    assert found(rising, -line(N, 0.001)) == []


def test_a_metric_that_gets_worse_is_a_plateau_too() -> None:
    assert len(found(ABSOLUTE, line(N, -0.001))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("gap", [10, 100])
def test_the_horizon_counts_steps_whatever_the_distance_of_the_values(gap: int) -> None:
    values = curve(hinge(N, 4000), "gauss", 0.1, 2, horizon=HORIZON, delta=0.1).values
    steps = gap * np.arange(N)
    sparse = DetectOptions(horizon=gap * HORIZON, min_improvement=0.1, relative=False)
    assert found(sparse, values, steps) == pytest.approx([gap * s for s in found(ABSOLUTE, values)], rel=0.02)
    assert found(DetectOptions(), values, steps) == [gap * step for step in found(DetectOptions(), values)]
    assert len(found(ABSOLUTE, values)) == len(found(DetectOptions(), values)) == 1


def test_steps_at_irregular_distances_are_no_trouble() -> None:
    rng = np.random.default_rng(3)
    steps = np.cumsum(rng.integers(1, 20, N))
    at = int(np.searchsorted(steps, 40_000))
    values = 2 + 2 * np.maximum(0, 1 - steps / 40_000) + 0.1 * rng.standard_normal(N)
    options = DetectOptions(horizon=10_000, min_improvement=0.1, relative=False)
    (step,) = found(options, values, steps)
    assert steps[at] < step < steps[-1]


def test_steps_that_stand_still_are_looked_at_without_harm() -> None:
    assert found(DetectOptions(), np.random.default_rng(0).standard_normal(3000), np.zeros(3000, np.int64)) == []


def test_thirty_epochs_are_few_and_no_error() -> None:
    epochs = np.arange(30)
    for options in (DetectOptions(), DetectOptions(horizon=5, min_improvement=0.01)):
        noisy = 2 + 1 / (1 + epochs) + 0.05 * np.random.default_rng(0).standard_normal(30)
        assert all(step >= 19 for step in found(options, noisy, epochs))
    assert len(found(DetectOptions(horizon=5, min_improvement=0.01), np.full(30, 2.0), epochs)) == 1


def test_a_constant_is_a_plateau() -> None:
    assert len(found(DetectOptions(), np.full(1000, 0.7))) == 1


def test_a_plateau_is_said_once_until_improvement_comes_back() -> None:
    mean = np.concatenate([hinge(8000, 3000), hinge(8000, 4000, 2.0, 0.5)])
    values = mean + 0.05 * np.random.default_rng(0).standard_normal(len(mean))
    steps = found(ABSOLUTE, values)
    assert len(steps) == 2
    assert 3000 < steps[0] < 8000
    assert 12_000 < steps[1] < 16_000


def test_after_a_restart_the_evidence_is_collected_anew_and_the_age_of_the_run_goes_on() -> None:
    values = 2 + 0.05 * np.random.default_rng(0).standard_normal(N)
    steps = np.arange(N)
    detector = PlateauDetector()
    before = trends(detector, steps[:6000], values[:6000])
    detector.restart()
    assert detector.trend is None
    after = trends(detector, steps[6000:], values[6000:])
    assert before[-1].state == "plateau"
    assert after[0].step >= 6000 + 0.9 * after[0].horizon
    assert after[0].horizon == pytest.approx(0.1 * after[0].step, abs=1)
    assert after[0].samples == after[0].step - 6000 + 1


def test_later_horizons_have_a_smaller_share_of_the_error_budget_whatever_the_phases() -> None:
    values = 2 + 0.1 * np.random.default_rng(0).standard_normal(3000)
    steps = np.arange(3000)
    fresh, old = PlateauDetector(options=ABSOLUTE), PlateauDetector(options=ABSOLUTE)
    trends(old, steps, values)
    for _ in range(5):
        old.restart()
        old.rewound()
        trends(old, steps, values)
    old.restart()
    old.rewound()
    first, later = trends(fresh, steps, values)[-1], trends(old, steps, values)[-1]
    assert first.improvement == later.improvement
    assert first.upper < later.upper
    assert first.detectable < later.detectable
    assert first.upper_now == later.upper_now  # the bound for one look is not part of the budget


def test_a_run_far_from_a_plateau_is_looked_at_less_often_than_one_near_it() -> None:
    steps = np.arange(N)
    noise = 0.01 * np.random.default_rng(0).standard_normal(N)
    apart: dict[float, list[int]] = {}
    for improvement in (0.15, 0.3):  # a horizon, where 0.1 is required
        looks = [
            trend.step
            for trend in trends(PlateauDetector("loss", ABSOLUTE), steps, noise - improvement * steps / HORIZON)
        ]
        apart[improvement] = np.diff(looks[-5:]).tolist()
    assert min(apart[0.3]) >= HORIZON // FAR_LOOKS
    assert max(apart[0.15]) < HORIZON // 10


def test_a_plateau_behind_a_steep_fall_is_found_as_soon_as_with_frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [
        curve(hinge(N, 4000), "gauss", 0.1, seed, horizon=HORIZON, delta=0.1, relative=False).values for seed in SEEDS
    ]
    rare = [found(ABSOLUTE, values) for values in curves]
    monkeypatch.setattr("lrwatch.core.detectors.plateau.FAR_LOOKS", LOOKS)
    often = [found(ABSOLUTE, values) for values in curves]
    assert all(rare)
    assert [abs(one[0] - other[0]) <= HORIZON // LOOKS for one, other in zip(rare, often, strict=True)] == [True] * len(
        curves
    )


def test_the_evidence_is_in_the_finding() -> None:
    (finding,) = findings(ABSOLUTE, hinge(N, 4000))
    assert (finding.kind, finding.metric) == ("plateau", "loss")
    evidence: dict[str, Any] = dict(finding.evidence)
    assert evidence["upper"] < evidence["asked"] == 0.1
    assert evidence["lower"] <= evidence["improvement"] <= evidence["upper"]
    assert evidence["horizon_steps"] == HORIZON
    assert "0.1 is required" in finding.message


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [DetectOptions(), DetectOptions(horizon=200, min_improvement=0.1, relative=False, direction="max")],
    ids=["defaults", "fixed, absolute, to maximise"],
)
def test_restored_anywhere_it_continues_the_same(options: DetectOptions) -> None:
    sign = 1.0 if options.direction == "min" else -1.0
    values = (sign * (hinge(N, 4000) + 0.05 * np.random.default_rng(0).standard_normal(N))).tolist()
    steps = list(range(N))
    whole = PlateauDetector("loss", options).feed(steps, values)
    detector, cut = PlateauDetector("loss", options), []
    for at in range(0, N, 997):
        cut += [(at + i, output) for i, output in detector.feed(steps[at : at + 997], values[at : at + 997])]
        state = json.loads(json.dumps(detector.state()))
        detector = PlateauDetector("loss", options)
        detector.restore(state)
    assert cut == whole
    assert any(isinstance(output, Finding) for _, output in whole)


def flat_noise(seed: int, sd: float = 0.2, n: int = 16_000) -> Floats:
    """A metric at 2 that does not improve, with noise of `sd` of its level."""
    return 2 * (1 + sd * np.random.default_rng(seed).standard_normal(n))


@pytest.mark.slow
def test_a_long_flat_run_gets_its_plateau_however_noisy_because_windows_grow_with_the_phase() -> None:
    for seed in SEEDS:
        assert len(found(DetectOptions(), flat_noise(seed))) == 1  # over half of the run its noise hides 0.9 %
    drop = 3 * np.exp(-np.arange(16_000) / 150)
    assert (
        len(found(DetectOptions(), flat_noise(1, 0.1) + drop)) == 1
    )  # the fall at the beginning is left out of the window
    for seed in SEEDS[:3]:
        assert len(found(DetectOptions(horizon=1000), flat_noise(seed, 0.3))) == 1  # and with a fixed horizon


@pytest.mark.slow
def test_windows_that_grow_make_no_false_alarm_where_the_metric_improves_by_exactly_what_is_asked() -> None:
    options = DetectOptions(horizon=200, min_improvement=0.1, relative=False)
    false = [
        seed
        for seed in range(60)
        if found(options, 10 - 0.1 / 200 * np.arange(4000) + 0.5 * np.random.default_rng(seed).standard_normal(4000))
    ]
    assert len(false) <= 3  # 1 % is promised: 60 runs have four or more by chance in one case of 300


@pytest.mark.slow
def test_a_metric_that_was_flat_for_long_and_improves_now_is_no_plateau_by_its_past() -> None:
    steps = np.arange(12_000)
    curve_of = 4 - np.maximum(0, steps - 8000) / 2000
    for seed in SEEDS:
        noisy = curve_of * (1 + 0.05 * np.random.default_rng(seed).standard_normal(12_000))
        detector = PlateauDetector("loss", DetectOptions())
        states = {trend.step: trend.state for trend in trends(detector, steps, noisy)}
        assert "plateau" in {state for step, state in states.items() if step < 8000}
        assert "plateau" not in {state for step, state in states.items() if step > 9500}


def test_a_metric_that_gets_worse_is_said_to_rise() -> None:
    values = line(N, -0.001) + 0.05 * np.random.default_rng(0).standard_normal(N)
    (finding,) = findings(ABSOLUTE, values)
    assert "loss rises by " in finding.message
    assert "surely by more than " in finding.message
    (mirrored,) = findings(
        DetectOptions(horizon=HORIZON, min_improvement=0.1, relative=False, direction="max"), -values
    )
    assert "loss falls by " in mirrored.message
