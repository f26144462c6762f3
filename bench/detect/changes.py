"""Change detectors of river as plateau rules, as users apply them: a plateau is a while without a downward change.

They are fed with block means. A strict setting is sensitive, with a long wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import numpy as np

from bench.detect import blocks
from bench.detect.blocks import NEVER
from lrwatch.core.sample import Floats, Ints

# Waits in horizons.
WAITS = (1, 2, 4)


class Detector(Protocol):
    """The used part of river's interface."""

    @property
    def drift_detected(self) -> bool: ...

    def update(self, x: float) -> object: ...


# Maps a detector to its estimate of the level, which distinguishes a downward change from an upward one.
Level = Callable[[Detector], float]


def drops(detector: Detector, level: Level, values: Floats) -> list[int]:
    """Return the indices at which `detector` flags a downward change in `values`, shape (n,)."""
    found = []
    before = float(values[0])
    for index, value in enumerate(values.tolist()):
        detector.update(value)
        now = level(detector)
        if detector.drift_detected and now < before:
            found.append(index)
        before = now
    return found


def _first_quiet(found: list[int], wait: int, n: int) -> int:
    """Return the first index at which `wait` values have passed without a drop, or NEVER."""
    last = -1
    for drop in [*found, n]:
        if drop - last > wait:
            return last + wait
        last = drop
    return NEVER


def _rule(values: Floats, horizon: int, makers: Mapping[str, Callable[[], Detector]], level: Level) -> dict[str, Ints]:
    size = max(1, horizon // blocks.A_HORIZON)
    series = blocks.means(values, size)
    found: dict[str, Ints] = {}
    for name, make in makers.items():
        fell = [drops(make(), level, curve) for curve in series]
        for wait in WAITS:
            quiet = np.array([_first_quiet(drop, wait * horizon // size, series.shape[1]) for drop in fell])
            found[f"{name}, wait {wait}"] = np.where(quiet < NEVER, quiet * size + size - 1, NEVER)
    return found


def estimation(detector: Detector) -> float:
    """Return the level of ADWIN."""
    return float(detector.estimation)  # type: ignore[attr-defined]


def flagged(detector: Detector) -> float:
    """Return a level for PageHinkley, whose mode restricts it to downward changes."""
    return -np.inf if detector.drift_detected else np.inf


def recent(detector: Detector) -> float:
    """Return the level of KSWIN: a change cuts its window to the recent values."""
    window = detector.window  # type: ignore[attr-defined]
    return float(sum(window) / len(window))


def adwin(values: Floats, horizon: int) -> dict[str, Ints]:
    """Apply river.drift.ADWIN."""
    from river.drift import ADWIN

    deltas = (0.00002, 0.002, 0.05, 0.3, 0.8)
    return _rule(values, horizon, {f"delta {delta:g}": partial(ADWIN, delta=delta) for delta in deltas}, estimation)


def page_hinkley(values: Floats, horizon: int) -> dict[str, Ints]:
    """Apply river.drift.PageHinkley, downwards."""
    from river.drift import PageHinkley

    limits = (2, 5, 10, 20, 50)
    makers = {f"threshold {limit}": partial(PageHinkley, threshold=limit, mode="down") for limit in limits}
    return _rule(values, horizon, makers, flagged)


def kswin(values: Floats, horizon: int) -> dict[str, Ints]:
    """Apply river.drift.KSWIN."""
    from river.drift import KSWIN

    alphas = (0.0005, 0.005, 0.05)
    return _rule(values, horizon, {f"alpha {alpha:g}": partial(KSWIN, alpha=alpha, seed=0) for alpha in alphas}, recent)
