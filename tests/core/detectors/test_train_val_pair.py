"""The pairs of training and validation, however the log is cut and whatever is missing in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.batches import batch, cut

from lrwatch.core import detectors
from lrwatch.core.detectors.base import Detector, Pair
from lrwatch.core.detectors.train_val_pair import TrainValPair
from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Batch

NAN = float("nan")
ABSENT = -1.0


class Echo(Detector[Pair]):
    """Reports every pair since the run began, with its number."""

    KIND = "overfitting"
    NEEDS = "pair"
    SAVED = ("_count",)

    def restart(self) -> None:
        self._count = 0

    def feed(self, steps: list[int], values: list[Pair]) -> Sequence[tuple[int, Finding]]:
        found = []
        for i, (step, pair) in enumerate(zip(steps, values, strict=True)):
            self._count += 1
            found.append((i, self._finding(step, {"number": self._count, **pair._asdict()}, self._train_metric)))
        return found


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> TrainValPair:
    monkeypatch.setattr(detectors, "REGISTRY", (Echo,))
    return TrainValPair("loss", "val_loss", DetectOptions())


def log(train: list[float], val: list[float], steps: list[int] | None = None) -> Batch:
    return batch(steps or list(range(len(train))), {"loss": train, "val_loss": val}, absent=ABSENT)


def yielded(pair: TrainValPair, batches: list[Batch]) -> list[tuple[int, Any, Any]]:
    """Step, validation and training of each pair."""
    found = [output for each in batches for _, output in pair.feed(each)]
    assert all(isinstance(output, Finding) and output.message == "loss" for output in found)
    return [(one.step, one.evidence["val"], one.evidence["train"]) for one in found if isinstance(one, Finding)]


def test_a_pair_is_a_validation_value_and_the_mean_of_training_since_the_one_before(pair: TrainValPair) -> None:
    whole = log([1, 2, 3, 4, 5, ABSENT], [ABSENT, ABSENT, 7, ABSENT, ABSENT, 8])
    assert yielded(pair, [whole]) == [(2, 7.0, 2.0), (5, 8.0, 4.5)]


def test_values_without_training_between_them_make_one_pair(pair: TrainValPair) -> None:
    assert yielded(pair, [log([1, ABSENT, ABSENT, 2], [5, 6, 7, 8])]) == [(0, 5.0, 1.0), (3, 7.0, 2.0)]


def test_what_is_not_finite_is_left_out(pair: TrainValPair) -> None:
    assert yielded(pair, [log([1, NAN, 3, 4], [ABSENT, NAN, 7, ABSENT])]) == [(2, 7.0, 2.0)]
    assert yielded(pair, [log([1.7e308, 1.7e308, 1], [ABSENT, 5, 6], [10, 11, 12])]) == [(12, 6.0, 1.0)]


def test_where_the_steps_go_back_the_detectors_begin_again(pair: TrainValPair) -> None:
    whole = log([1, 2, 3, 4], [5, 6, 7, 8], [10, 20, 10, 20])
    numbers = [output.evidence["number"] for _, output in pair.feed(whole) if isinstance(output, Finding)]
    assert numbers == [1, 2, 1]  # what came before the first validation value of the new run is of the old one


def test_how_the_log_is_cut_and_where_it_is_restored_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "REGISTRY", (Echo,))
    rng = np.random.default_rng(4)
    val = np.where(rng.random(500) < 0.1, rng.standard_normal(500), ABSENT)
    whole = log(rng.standard_normal(500).tolist(), val.tolist())
    expected = yielded(TrainValPair("loss", "val_loss", DetectOptions()), [whole])
    pair, found = TrainValPair("loss", "val_loss", DetectOptions()), []
    for piece in cut(whole, range(7, 500, 7)):
        found += yielded(pair, [piece])
        state = json.loads(json.dumps(pair.state()))
        pair = TrainValPair(state["train"], state["val"], DetectOptions())
        pair.restore(state)
    assert found == expected
    assert len(found) > 30
