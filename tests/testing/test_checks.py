"""The conformance check finds what it is for: one detector for each promise that it breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from lrwatch.core.detectors.base import Detector
from lrwatch.testing import check_detector


class Falls(Detector[float]):
    """Reports a value below all before it; keeps every promise."""

    KIND = "plateau"
    FINITE_ONLY = False
    SAVED = ("best",)

    def restart(self) -> None:
        self.best = np.inf

    def feed(self, steps: list[int], values: list[float]) -> Sequence[tuple[int, Any]]:
        found = []
        for i, value in enumerate(values):
            if self._sign * value < self.best:
                self.best = self._sign * value
                found.append((i, "best"))
        return found


class Raises(Falls):
    def feed(self, steps: list[int], values: list[float]) -> Sequence[tuple[int, Any]]:
        return [(i, int(value)) for i, value in enumerate(values)]


class Warns(Falls):
    def feed(self, steps: list[int], values: list[float]) -> Sequence[tuple[int, Any]]:
        return [(i, float(value)) for i, value in enumerate(np.array(values) * 10)]


class Differs(Falls):
    made = 0

    def restart(self) -> None:
        super().restart()
        Differs.made += 1

    def feed(self, steps: list[int], values: list[float]) -> Sequence[tuple[int, Any]]:
        return [(0, Differs.made)] * len(values)


class LooksAtPieces(Falls):
    def feed(self, steps: list[int], values: list[float]) -> Sequence[tuple[int, Any]]:
        return [(len(values) - 1, "end of a piece")]


class Forgets(Falls):
    def restore(self, state: Mapping[str, Any]) -> None:
        pass


class Grows(Falls):
    SAVED = ("all",)

    def restart(self) -> None:
        self.all: list[float] = []

    def feed(self, steps: list[int], values: list[float]) -> Sequence[tuple[int, Any]]:
        self.all.extend(values)
        return []


class Trips(Falls):
    def feed(self, steps: list[int], values: list[float]) -> Sequence[tuple[int, Any]]:
        return [(0, "a number")] if values[0] == 12345.0 else []


class YieldsNumpy(Falls):
    def feed(self, steps: list[int], values: list[float]) -> Sequence[tuple[int, Any]]:
        return [(i, self._finding(0, {"value": np.float64(value)}, "")) for i, value in enumerate(values)]


class Above(Falls):
    """Reports values above a bound in the metric's own unit."""

    def feed(self, steps: list[int], values: list[float]) -> Sequence[tuple[int, Any]]:
        return [(i, "above") for i, value in enumerate(values) if value > 3.0]


class Doubled(Falls):
    """Reports values of less than half the first: of any unit, but not of any origin."""

    def feed(self, steps: list[int], values: list[float]) -> Sequence[tuple[int, Any]]:
        found = []
        for i, value in enumerate(values):
            self.best = value if self.best == np.inf else self.best
            if self._sign * value < self._sign * self.best / 2:
                found.append((i, "half"))
        return found


class OneWay(Falls):
    """Takes every metric for one to minimise."""

    def restart(self) -> None:
        super().restart()
        self._sign = 1.0


def test_a_detector_that_keeps_every_promise_passes() -> None:
    check_detector(Falls)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("detector", "complaint"),
    [
        (Raises, "NaN among values: ValueError"),
        (Warns, "RuntimeWarning"),
        (Differs, "the same input gives another output"),
        (LooksAtPieces, "cut at"),
        (Forgets, "restored at"),
        (Grows, "the state has"),
        (Trips, "IndexError"),
        (YieldsNumpy, "the evidence is not plain"),
        (Doubled, "1024 higher it is reported elsewhere"),
        (Above, "times 1024 it is reported elsewhere"),
        (OneWay, "upside down it is reported elsewhere"),
    ],
)
def test_a_broken_promise_is_named(detector: type[Falls], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_detector(detector)


@pytest.mark.parametrize(
    ("detector", "claim"), [(Raises, {"FINITE_ONLY": True}), (Doubled, {"SHIFT_INVARIANT": False})]
)
def test_what_is_not_claimed_is_not_checked(detector: type[Falls], claim: dict[str, bool]) -> None:
    check_detector(type("Modest", (detector,), claim))
