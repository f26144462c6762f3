"""The conformance check finds what it is for: one detector for each promise that it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lrwatch.core.events import Finding
from lrwatch.core.sample import Floats, Ints
from lrwatch.testing import check_detector


class Falls:
    """Says when a value is below all before it; keeps every promise."""

    def __init__(self) -> None:
        self.best = np.inf

    def feed(self, _: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        said = []
        for i, value in enumerate(values.tolist()):
            if value < self.best:
                self.best = value
                said.append((i, "best"))
        return said

    def state(self) -> Any:
        return repr(self.best)

    def restore(self, state: Any) -> None:
        self.best = float(state)


class Raises(Falls):
    def feed(self, _: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        return [(i, int(value)) for i, value in enumerate(values.tolist())]


class Warns(Falls):
    def feed(self, _: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        return [(i, float(value * 10)) for i, value in enumerate(values)]


class Differs(Falls):
    made = 0

    def __init__(self) -> None:
        super().__init__()
        Differs.made += 1

    def feed(self, _: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        return [(0, Differs.made)] * len(values)


class LooksAtPieces(Falls):
    def feed(self, _: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        return [(len(values) - 1, "end of a piece")]


class Forgets(Falls):
    def restore(self, state: Any) -> None:
        pass


class Grows(Falls):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[float] = []

    def feed(self, _: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        self.all.extend(values.tolist())
        return []

    def state(self) -> Any:
        return self.all

    def restore(self, state: Any) -> None:
        self.all = state


class Trips(Falls):
    def feed(self, _: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        return [(0, "a number")] if values[0] == 12345.0 else []


class SaysNumpy(Falls):
    def feed(self, steps: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        return [(i, Finding("spike", "", 0, {"value": value}, "")) for i, value in enumerate(values)]


class Above(Falls):
    """Says which values are above a bound in the metric's own unit."""

    def feed(self, _: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        return [(i, "above") for i, value in enumerate(values.tolist()) if value > 3.0]


class Doubled(Falls):
    """Says which values are more than twice the first of all: of any unit, but not of any origin."""

    def feed(self, _: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        said = []
        for i, value in enumerate(values.tolist()):
            self.best = value if self.best == np.inf else self.best
            if value < self.best / 2:
                said.append((i, "half"))
        return said


def test_a_detector_that_keeps_every_promise_passes() -> None:
    check_detector(Falls)


@pytest.mark.parametrize(
    ("detector", "complaint"),
    [
        (Raises, "NaN among values: ValueError"),
        (Warns, "RuntimeWarning"),
        (Differs, "the same input gives another output"),
        (LooksAtPieces, "cut at"),
        (Forgets, "restarted at"),
        (Grows, "the state has"),
        (Trips, "IndexError"),
        (SaysNumpy, "the evidence is not plain"),
    ],
)
def test_a_broken_promise_is_named(detector: type[Falls], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_detector(detector)


def test_a_detector_of_finite_values_is_given_no_others() -> None:
    with pytest.raises(AssertionError):
        check_detector(Raises, finite_only=False)
    check_detector(type("Whole", (Raises,), {}), finite_only=True)


class Rises(Falls):
    """The mirror image of `Falls`."""

    def feed(self, steps: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        return super().feed(steps, -values)


def test_other_units_and_origins_are_tried_where_they_are_claimed() -> None:
    check_detector(Falls, scaled=True, shifted=True, mirrored=Rises)
    check_detector(Doubled, scaled=True)
    with pytest.raises(AssertionError, match="1024 higher it is said elsewhere"):
        check_detector(Doubled, shifted=True)
    with pytest.raises(AssertionError, match="times 1024 it is said elsewhere"):
        check_detector(Above, scaled=True)
    with pytest.raises(AssertionError, match="upside down it is said elsewhere"):
        check_detector(Falls, mirrored=Falls)
