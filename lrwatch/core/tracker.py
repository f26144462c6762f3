"""One watched metric: the row of detectors that its samples pass, in order."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrwatch.core.detectors.divergence import DivergenceDetector
from lrwatch.core.detectors.nonfinite import NonFiniteDetector
from lrwatch.core.detectors.plateau import PlateauDetector, Trend
from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats, Ints

# Samples of the old phase that may still come after the new one is known: what a log buffers, and no more, so that a trainer
# whose step count is not the log's does not silence its metric.
MAX_LATE = 2048


class Tracker:
    """The detectors of one metric of one run."""

    def __init__(self, metric: str, options: DetectOptions) -> None:
        self.metric = metric
        self._options = options
        self._nonfinite = NonFiniteDetector(metric)
        self._divergence = DivergenceDetector(metric, options.direction)
        self._plateau = PlateauDetector(options, metric)
        self._step: int | None = None
        self._phase_from: int | None = None
        self._late = 0

    @property
    def trend(self) -> Trend | None:
        """The newest trend of this phase."""
        return self._plateau.trend

    def rewinds(self, steps: Ints) -> list[int]:
        """Indices of `steps` (shape (n,), n >= 1) that lie before the step in front of them."""
        back = (np.flatnonzero(np.diff(steps) < 0) + 1).tolist()
        return [0, *back] if self._step is not None and steps[0] < self._step else back

    def feed(self, steps: Ints, values: Floats) -> list[tuple[int, Finding | Trend]]:
        """Take samples of one phase (shape (n,) each). -> findings and looks, each with the index of its sample."""
        self._step = int(steps[-1])
        found: list[tuple[int, Finding | Trend]] = list(self._nonfinite.feed(steps, values))
        finite = np.isfinite(values)
        index = None if finite.all() else np.flatnonzero(finite)
        if index is not None:
            steps, values = steps[index], values[index]
        inner = [*self._divergence.feed(steps, values), *self._trend_of(steps, values)]
        found.extend(inner if index is None else ((int(index[i]), said) for i, said in inner))
        return found

    def reread(self, steps: Ints, values: Floats) -> list[tuple[int, Finding | Trend]]:
        """Samples of the new phase that were fed before it was known (shape (n,) each), once more for the trend alone.

        That they were not finite, or had diverged, was said when they came.
        """
        index = np.flatnonzero(np.isfinite(values))
        return [(int(index[i]), said) for i, said in self._trend_of(steps[index], values[index])]

    def _trend_of(self, steps: Ints, values: Floats) -> list[tuple[int, Finding | Trend]]:
        found: list[tuple[int, Finding | Trend]] = []
        at = self._skip_late(steps)
        while at < len(values):
            taken, trend = self._plateau.feed(steps[at:], values[at:])
            at += taken
            if trend is not None:
                finding = self._plateau.finding(trend)
                found.extend((at - 1, said) for said in (finding, trend) if said is not None)
        return found

    def _skip_late(self, steps: Ints) -> int:
        """How many of the first samples still belong to the phase before."""
        if self._phase_from is None:
            return 0
        late = min(int(np.searchsorted(steps, self._phase_from)), MAX_LATE - self._late)
        self._late += late
        if late < len(steps):
            self._phase_from = None
        return late

    def restart(self, phase_from: int | None = None) -> None:
        """A new phase: the trend begins anew. What the run had reached is still what divergence is judged by.

        Args:
            phase_from: First step of the new phase, where it is known; samples before it may still come.
        """
        self._plateau.restart()
        self._phase_from, self._late = phase_from, 0

    def rewind(self) -> None:
        """The steps went back: the run was resumed, or another began in the same log. Nothing from before compares."""
        self._plateau.restart()
        self._divergence = DivergenceDetector(self.metric, self._options.direction)
        self._step = self._phase_from = None

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {
            "nonfinite": self._nonfinite.state(),
            "divergence": self._divergence.state(),
            "plateau": self._plateau.state(),
            "step": self._step,
            "phase_from": self._phase_from,
            "late": self._late,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self._nonfinite.restore(state["nonfinite"])
        self._divergence.restore(state["divergence"])
        self._plateau.restore(state["plateau"])
        self._step, self._phase_from, self._late = state["step"], state["phase_from"], state["late"]
