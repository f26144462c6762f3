"""Overfitting, and the healthy runs that look like it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lrwatch.core.detectors.base import Pair
from lrwatch.core.detectors.overfitting import OverfittingDetector
from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats
from lrwatch.testing.synthetic.curves import NOISES, exponential, power_law

N = 200
STEP = 100
TRAIN = power_law(N, 0.3, 2.5)
HEALTHY = exponential(N, 20, 2.5, 1.0)
RISE = 0.005 * np.maximum(0, np.arange(N) - 80)


def noise(seed: int, kind: str = "gauss", sd: float = 0.03) -> Floats:
    return sd * NOISES[kind](np.random.default_rng(seed), N)


def number(finding: Finding, key: str) -> float:
    value = finding.evidence[key]
    assert isinstance(value, int | float)
    return value


def make() -> OverfittingDetector:
    return OverfittingDetector("val_loss", train_metric="loss")


def pairs(val: Floats, train: Floats = TRAIN, sign: float = 1.0) -> list[Pair]:
    """Each validation value with the mean of ten training values."""
    rng = np.random.default_rng(99)
    means = [float(np.mean(mean + 0.05 * rng.standard_normal(10))) for mean in train.tolist()]
    return [Pair(sign * value, sign * mean) for value, mean in zip(val.tolist(), means, strict=True)]


def run(val: Floats, train: Floats = TRAIN, detector: OverfittingDetector | None = None) -> list[tuple[int, Finding]]:
    """What is found, with the index of the validation value."""
    detector = detector or make()
    return detector.feed(list(range(0, STEP * len(val), STEP)), pairs(val, train))


STAYS_SILENT = {
    "a healthy run": HEALTHY,
    "validation that is flat for long": exponential(N, 5, 2.5, 1.0),
    "validation that still falls": power_law(N, 0.2, 2.5),
    "validation that is flat from the first on": np.full(N, 2.0),
    "a rise at the very beginning": HEALTHY + 0.5 * np.exp(-(((np.arange(N) - 8) / 4.0) ** 2)),
    "one bad value": HEALTHY + 3.0 * (np.arange(N) == 120),
    "a step up": HEALTHY + 0.05 * (np.arange(N) > 120),
    "a rise too small to matter": HEALTHY + 0.02 * RISE,
}


@pytest.mark.parametrize("name", STAYS_SILENT)
def test_what_is_not_overfitting_stays_silent(name: str) -> None:
    for seed in range(3):
        assert run(STAYS_SILENT[name] + noise(seed)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gauss", "t3", "lognormal", "ar"])
def test_healthy_runs_stay_silent_whatever_the_noise(kind: str) -> None:
    alarms = sum(len(run(HEALTHY + noise(seed, kind))) for seed in range(20))
    assert alarms <= 1


def test_validation_that_rises_while_training_falls_is_found() -> None:
    for seed in range(5):
        ((at, finding),) = run(HEALTHY + RISE + noise(seed))
        assert 85 < at < 140
        assert 4000 < number(finding, "best_step") < 10_000


def test_validation_that_rises_together_with_training_is_not_overfitting() -> None:
    assert run(HEALTHY + RISE + noise(0), TRAIN + 2 * RISE) == []


def test_the_finding_tells_the_checkpoint_to_keep() -> None:
    ((_, finding),) = run(HEALTHY + 2 * RISE + noise(1, sd=0.01))
    assert (finding.kind, finding.metric) == ("overfitting", "val_loss")
    assert set(map(type, finding.evidence.values())) <= {float, int, str}
    assert number(finding, "now") > number(finding, "best")
    assert number(finding, "train_now") < number(finding, "train_at_best")
    assert number(finding, "log_e") >= number(finding, "asked")
    assert f"keep the checkpoint of about step {finding.evidence['best_step']:,}" in finding.message
    assert number(finding, "best_step") == pytest.approx(8000, abs=1200)


def test_metrics_to_maximise_are_the_same_mirrored() -> None:
    values = HEALTHY + RISE + noise(2)
    ((at, finding),) = run(values)
    detector = OverfittingDetector("val_loss", DetectOptions(direction="max"), "loss")
    mirrored = detector.feed(list(range(0, STEP * N, STEP)), pairs(values, sign=-1.0))
    assert [i for i, _ in mirrored] == [at]
    assert mirrored[0][1].message == finding.message


def test_it_is_said_again_only_after_a_new_best() -> None:
    val = HEALTHY + 3 * RISE
    val[130:] = np.linspace(1.2, 0.5, 70)
    val[160:] = 0.9 + 0.08 * np.arange(40)
    found = run(val + noise(3, sd=0.01), np.linspace(3, 1, N))
    assert [i < 130 for i, _ in found] == [True, False]


def test_after_a_restart_there_is_no_evidence() -> None:
    values = HEALTHY + RISE + noise(5)
    ((at, _),) = run(values)
    detector = make()
    run(values[: at - 1], TRAIN[: at - 1], detector)
    detector.restart()
    assert run(values[at - 1 : at + 10], TRAIN[at - 1 : at + 10], detector) == []


def test_a_restored_detector_goes_on_as_the_old_one() -> None:
    values, cut = HEALTHY + RISE + noise(6), 90
    detector = make()
    run(values[:cut], TRAIN[:cut], detector)
    state: Any = json.loads(json.dumps(detector.state()))
    again = make()
    again.restore(state)
    assert run(values[cut:], TRAIN[cut:], again) == run(values[cut:], TRAIN[cut:], detector) != []


NANOGPT = [
    (4.15, 4.30), (3.1398, 2.07), (2.4663, 1.75), (2.0149, 1.60), (1.7097, 1.52), (1.5011, 1.50), (1.356, 1.487), (1.2529, 1.479),
    (1.1775, 1.478), (1.1202, 1.487), (1.075, 1.502), (1.0376, 1.521), (1.0055, 1.538), (0.9769, 1.566), (0.9505, 1.580),
    (0.9256, 1.604), (0.9017, 1.631), (0.8784, 1.647), (0.8556, 1.677), (0.8331, 1.687), (0.8107, 1.703),
]  # fmt: skip


def test_of_few_evaluations_a_steady_rise_is_enough() -> None:
    detector = make()
    ((at, finding),) = detector.feed(list(range(0, 250 * 21, 250)), [Pair(val, train) for train, val in NANOGPT])
    assert at == 14
    assert finding.evidence["best_step"] == 2000
    assert finding.evidence["rises"] == 6
    assert "val_loss has got worse by 6.9 % since step 2,000 while loss improved by 19.3 %" in finding.message
    huge = make().feed(list(range(21)), [Pair(1e307 * val, 1e307 * train) for train, val in NANOGPT])
    assert [i for i, _ in huge] == [14]


def test_a_steady_rise_without_a_gain_of_training_or_from_the_first_pairs_on_is_none() -> None:
    steps = list(range(21))
    assert make().feed(steps[:16], [Pair(val, max(train, 1.1)) for train, val in NANOGPT[:16]]) == []
    rises = [Pair(0.32 + 0.02 * i, 1 - 0.1 * i) for i in range(6)]
    assert make().feed(steps[:6], rises) == []


@pytest.mark.parametrize("n", [10, 20, 30])
def test_few_evaluations_of_a_healthy_run_stay_silent(n: int) -> None:
    alarms = 0
    for kind in ("gauss", "t3", "lognormal", "ar"):
        for seed in range(25):
            values = exponential(n, n / 8, 2.0, 1.0) * (1 + 0.03 * NOISES[kind](np.random.default_rng(seed), n))
            alarms += len(make().feed(list(range(n)), [Pair(val, 3 - i / n) for i, val in enumerate(values.tolist())]))
    assert alarms <= 1
