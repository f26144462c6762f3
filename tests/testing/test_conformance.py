"""What every detector promises, of every detector that there is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import lrwatch.core.detectors
from lrwatch.core.detectors.divergence import DivergenceDetector
from lrwatch.core.detectors.nonfinite import NonFiniteDetector
from lrwatch.core.detectors.oscillation import OscillationDetector
from lrwatch.core.detectors.overfitting import OverfittingDetector
from lrwatch.core.detectors.plateau import PlateauDetector, Trend
from lrwatch.core.detectors.spike import SpikeDetector
from lrwatch.core.detectors.too_slow import TooSlowDetector
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats, Ints
from lrwatch.testing import check_detector
from lrwatch.testing.checks import Detector


class Plateau:
    """The plateau detector with the signature of the others; findings alone."""

    def __init__(self, direction: Any = "min") -> None:
        self._detector = PlateauDetector(DetectOptions(horizon=500, min_improvement=0.02, direction=direction))
        self.state, self.restore = self._detector.state, self._detector.restore

    def feed(self, steps: Ints, values: Floats) -> list[tuple[int, Any]]:
        said: list[tuple[int, Any]] = []
        at = 0
        while at < len(values):
            taken, trend = self._detector.feed(steps[at:], values[at:])
            at += taken
            if isinstance(trend, Trend) and (finding := self._detector.finding(trend)) is not None:
                said.append((at - 1, finding))
        return said


class Overfitting:
    """The overfitting detector behind a training loss that falls; the values are those of validation."""

    def __init__(self, direction: str = "min") -> None:
        self._detector = OverfittingDetector(direction=direction)
        self._sign = 1.0 if direction == "min" else -1.0
        self.state, self.restore = self._detector.state, self._detector.restore

    def feed(self, steps: Ints, values: Floats) -> list[tuple[int, Any]]:
        said = []
        for at, (step, value) in enumerate(zip(steps.tolist(), values.tolist(), strict=True)):
            self._detector.feed_train([self._sign * (3 - step / 10_000)])
            said += [(at, finding) for _, finding in self._detector.feed_lists([step], [value])]
        return said


MAKERS: dict[str, Callable[..., Detector]] = {
    "PlateauDetector": Plateau,
    "OverfittingDetector": Overfitting,
    "DivergenceDetector": partial(DivergenceDetector, "loss"),
    "SpikeDetector": partial(SpikeDetector, "loss"),
    "OscillationDetector": partial(OscillationDetector, "loss"),
    "TooSlowDetector": partial(TooSlowDetector, "loss"),
}

# Those to which the level of the metric means something: an improvement relative to it.
RELATIVE = {"PlateauDetector", "TooSlowDetector"}

# Those that have no values to be cut, or no direction: their own tests hold what they promise.
OF_THEIR_OWN = {"NonFiniteDetector", "StalledDetector"}


def test_every_detector_is_held_to_it() -> None:
    found = set()
    for module in pkgutil.iter_modules(lrwatch.core.detectors.__path__):
        room = importlib.import_module(f"lrwatch.core.detectors.{module.name}")
        found |= {
            name
            for name, kind in inspect.getmembers(room, inspect.isclass)
            if name.endswith("Detector") and kind.__module__ == room.__name__
        }
    assert found == set(MAKERS) | OF_THEIR_OWN


@pytest.mark.parametrize("name", MAKERS)
def test_a_detector_keeps_its_promises(name: str) -> None:
    make = MAKERS[name]
    # Overfitting sees a training loss whose size is not that of the values.
    check_detector(
        make, finite_only=True, scaled=True, shifted=name not in RELATIVE, mirrored=lambda: make(direction="max")
    )


def test_the_search_for_values_that_are_not_finite_keeps_them_too() -> None:
    check_detector(NonFiniteDetector, scaled=True, shifted=True)
