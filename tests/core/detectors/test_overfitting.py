"""Overfitting, and the healthy runs that look like it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lrwatch.core.detectors.overfitting import OverfittingDetector
from lrwatch.core.events import Finding
from lrwatch.core.sample import Floats, Ints
from lrwatch.testing import check_detector
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


def run(val: Floats, train: Floats = TRAIN, detector: OverfittingDetector | None = None) -> list[tuple[int, Finding]]:
    """Each validation value after ten training values. -> what was said, with the index of the validation value."""
    detector = detector or OverfittingDetector()
    found: list[tuple[int, Finding]] = []
    rng = np.random.default_rng(99)
    for i, (value, mean) in enumerate(zip(val.tolist(), train.tolist(), strict=True)):
        detector.feed_train((mean + 0.05 * rng.standard_normal(10)).tolist())
        found.extend((i, finding) for _, finding in detector.feed_lists([STEP * i], [value]))
    return found


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
    assert f"checkpoint of about step {finding.evidence['best_step']} is the one to keep" in finding.message
    assert number(finding, "best_step") == pytest.approx(8000, abs=1200)


def test_metrics_to_maximise_are_the_same_mirrored() -> None:
    values = HEALTHY + RISE + noise(2)
    ((at, finding),) = run(values)
    detector = OverfittingDetector(direction="max")
    rng = np.random.default_rng(99)
    mirrored: list[tuple[int, Finding]] = []
    for i, (value, mean) in enumerate(zip(values.tolist(), TRAIN.tolist(), strict=True)):
        detector.feed_train((-(mean + 0.05 * rng.standard_normal(10))).tolist())
        mirrored.extend((i, said) for _, said in detector.feed_lists([STEP * i], [-value]))
    assert [i for i, _ in mirrored] == [at]
    assert mirrored[0][1].message == finding.message


def test_it_is_said_again_only_after_a_new_best() -> None:
    val = HEALTHY + 3 * RISE
    val[130:] = np.linspace(1.2, 0.5, 70)
    val[160:] = 0.9 + 0.08 * np.arange(40)
    found = run(val + noise(3, sd=0.01), np.linspace(3, 1, N))
    assert [i < 130 for i, _ in found] == [True, False]


def test_values_without_training_between_them_make_one_pair() -> None:
    one, other = OverfittingDetector(), OverfittingDetector()
    for i, value in enumerate((HEALTHY + RISE).tolist()):
        one.feed_train([float(TRAIN[i])])
        other.feed_train([float(TRAIN[i])])
        one.feed_lists([i], [value])
        other.feed_lists([i], [value])
        one.feed_lists([i], [])
    assert one.state() == other.state()
    alone = OverfittingDetector()
    assert alone.feed_lists(list(range(N)), (HEALTHY + RISE).tolist()) == []
    alone.feed_train([1.0])
    alone.feed_lists([N], [1.0])
    assert alone.state()["pairs"] == 1


def test_how_training_values_are_cut_changes_nothing() -> None:
    values = np.random.default_rng(4).standard_normal(1000).tolist()
    whole, cut = OverfittingDetector(), OverfittingDetector()
    whole.feed_train(values)
    for at in range(0, 1000, 7):
        cut.feed_train(values[at : at + 7])
    assert whole.state() == cut.state()


def test_a_new_phase_begins_without_evidence() -> None:
    values = HEALTHY + RISE + noise(5)
    ((at, _),) = run(values)
    detector = OverfittingDetector()
    run(values[: at - 1], TRAIN[: at - 1], detector)
    detector.restart()
    assert run(values[at - 1 : at + 10], TRAIN[at - 1 : at + 10], detector) == []


class WithTraining(OverfittingDetector):
    """Training values come before each validation value; they fall."""

    def feed(self, steps: Ints, values: Floats) -> list[tuple[int, Finding]]:
        found: list[tuple[int, Finding]] = []
        for i, (step, value) in enumerate(zip(steps.tolist(), values.tolist(), strict=True)):
            self.feed_train([1000.0 - step, value / 1000])
            found.extend((i, finding) for _, finding in self.feed_lists([step], [value]))
        return found


def test_it_keeps_the_promises_of_a_detector() -> None:
    check_detector(WithTraining, finite_only=True, max_state_bytes=32_000)


def test_a_restored_detector_goes_on_as_the_old_one() -> None:
    values, cut = HEALTHY + RISE + noise(6), 90
    detector = OverfittingDetector()
    run(values[:cut], TRAIN[:cut], detector)
    state: Any = json.loads(json.dumps(detector.state()))
    again = OverfittingDetector()
    again.restore(state)
    assert run(values[cut:], TRAIN[cut:], again) == run(values[cut:], TRAIN[cut:], detector) != []
