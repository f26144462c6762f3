"""One watched metric: hands its samples to the detectors of the registry, each in its scope, and collects what they yield."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import numpy as np

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.detectors import make_detectors
from lrwatch.core.detectors.base import Detector, Output, Silence, TrendDetector
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.options import DetectOptions
from lrwatch.core.progress import Improved, ProgressCheck
from lrwatch.core.sample import Floats, Ints

# Samples of the old phase that may still come after the new one has begun: what a log buffers, and no more, so that a trainer
# whose step count is not the log's does not silence its metric.
MAX_LATE = 2048

# Samples that detectors get together: a call for each sample would cost more than what is done there.
GROUP = 16


class _Feeder(Checkpointed):
    """Hands finite samples to the detectors of one scope: at once to those of the trend, to the others in whole groups.

    Args:
        detectors: The detectors.
    """

    SAVED = ("_steps", "_values")

    def __init__(self, detectors: list[Detector[float]]) -> None:
        self._at_once = [one for one in detectors if isinstance(one, TrendDetector)]
        self._grouped = [one for one in detectors if not isinstance(one, TrendDetector)]
        self._steps: list[int] = []
        self._values: list[float] = []

    @property
    def silence(self) -> Silence:
        """How long no output is guaranteed. One of the grouped detectors comes at the end of a group."""
        waiting = self._values
        found = [one.silence for one in self._at_once]
        if self._grouped:
            grouped = Silence.of_all([one.silence for one in self._grouped])
            groups = grouped.samples // GROUP if grouped.covers(waiting) else 0
            found.append(grouped._replace(samples=(groups + 1) * GROUP - 1 - len(waiting)))
        return Silence.of_all(found)

    def clear(self) -> None:
        """Drop the samples that wait for a whole group."""
        self._steps, self._values = [], []

    def feed(self, steps: list[int], values: list[float]) -> list[tuple[int, Output]]:
        """Take finite samples.

        Returns:
            New outputs. Those from a group have the index of its last sample.
        """
        found: list[tuple[int, Output]] = []
        if len(self._values) + len(values) < GROUP:
            self._steps += steps
            self._values += values
        else:
            self._feed_groups(steps, values, found)
        for detector in self._at_once:
            found += detector.feed(steps, values)
        return found

    def _feed_groups(self, steps: list[int], values: list[float], found: list[tuple[int, Output]]) -> None:
        at = 0
        while at < len(values):
            end = min(at + GROUP - len(self._values), len(values))
            self._steps += steps[at:end]
            self._values += values[at:end]
            at = end
            if len(self._values) == GROUP:
                group = self._steps, self._values
                self.clear()
                for detector in self._grouped:
                    for _, output in detector.feed(*group):
                        found.append((at - 1, output))


class Tracker(Checkpointed):
    """The detectors of one metric of one run.

    Args:
        metric: Its name.
        options: What counts as a plateau.
        judged: Whether detectors of finite values get it. A mean since the epoch began is not judged: one value is hardly
            news to the one before, and where an epoch begins it jumps.
    """

    SAVED = ("_run", "_phase", "_progress", "_step", "_phase_from", "_late", "judged")

    def __init__(self, metric: str, options: DetectOptions, *, judged: bool = True) -> None:
        self.metric = metric
        self.judged = judged
        self._detectors: dict[str, Detector[float]] = make_detectors("metric", metric, options)
        detectors = self._detectors.values()
        self._unfiltered = [one for one in detectors if not one.FINITE_ONLY]
        self._run = _Feeder([one for one in detectors if one.FINITE_ONLY and one.SCOPE != "phase"])
        self._phase = _Feeder([one for one in detectors if one.FINITE_ONLY and one.SCOPE == "phase"])
        self._trends = [one for one in detectors if isinstance(one, TrendDetector)]
        self._progress = ProgressCheck(options)
        self._step: int | None = None
        self._phase_from: int | None = None
        self._late = 0

    def set_epoch_steps(self, steps: int) -> None:
        """Learn how many steps an epoch has; 0 is unknown."""
        for trends in self._trends:
            trends.epoch_steps = steps

    @property
    def trend(self) -> Trend | None:
        """The newest trend of this phase."""
        return self._trends[0].trend if self._trends else None

    @property
    def last_trend(self) -> Trend | None:
        """The newest trend that is already computed: `trend` or an earlier one, at no cost."""
        return self._trends[0].last_trend if self._trends else None

    @property
    def tells_at(self) -> int | None:
        """The step from which on a plateau could be told, while it cannot: see `TrendDetector.tells_at`."""
        return self._trends[0].tells_at if self._trends and self.judged else None

    @property
    def plateau_since(self) -> int | None:
        """The step at which a plateau was found: see `TrendDetector.plateau_since`."""
        return self._trends[0].plateau_since if self._trends and self.judged else None

    @property
    def samples(self) -> int:
        """Number of finite samples of this phase that the trend has."""
        return self._trends[0].samples if self._trends else 0

    @property
    def silence(self) -> Silence:
        """How long no output is guaranteed, if all samples are finite and in order."""
        return Silence.of_all([self._run.silence, self._phase.silence])

    def rewinds(self, steps: Ints) -> list[int]:
        """Return the indices of `steps` (shape (n,), n >= 1) where a step is lower than the one before."""
        back = []
        if len(steps) > 1 and (falls := steps[1:] < steps[:-1]).any():
            back = (np.flatnonzero(falls) + 1).tolist()
        return [0, *back] if self._step is not None and steps[0] < self._step else back

    def feed(self, steps: Ints, values: Floats, threshold: float | None = None) -> list[tuple[int, Output | Improved]]:
        """Take samples of one phase.

        Args:
            steps: Their steps, shape (n,), n >= 1, not falling.
            values: Their values, shape (n,).
            threshold: None, or the relative threshold below which a look matters: see `TrendDetector.threshold`.

        Returns:
            New findings, trends and phases, each with the index of its sample; and before them, that the metric has
            once improved.
        """
        places, plain = steps.tolist(), values.tolist()
        self._step = places[-1]
        found: list[tuple[int, Output | Improved]] = []
        for detector in self._unfiltered:
            found += detector.feed(places, plain)
        if not self.judged:
            return found
        for trends in self._trends:
            trends.threshold = threshold
        if math.isfinite(sum(plain)):  # so all of them are, as nearly always
            found += self._progress.feed(places, plain)
            return [*found, *self._run.feed(places, plain), *self._feed_phase(places, plain)]
        index, places, plain = _finite(steps, values)
        found += [(index[i], output) for i, output in self._progress.feed(places, plain)]
        found += [(index[i], output) for i, output in self._run.feed(places, plain)]
        found += [(index[i], output) for i, output in self._feed_phase(places, plain)]
        return found

    def reread(self, steps: Ints, values: Floats) -> list[tuple[int, Output]]:
        """Feed the detectors of the phase again with samples that came before the first step of the phase was known.

        Args:
            steps: Their steps, shape (n,), not falling.
            values: Their values, shape (n,).

        Returns:
            New outputs of the phase, each with the index of its sample. What the detectors of the log and of the run
            made of these samples was returned when they came.
        """
        if not self.judged:
            return []
        for trends in self._trends:
            trends.threshold = None
        index, places, plain = _finite(steps, values)
        return [(index[i], output) for i, output in self._feed_phase(places, plain)]

    def _feed_phase(self, steps: list[int], values: list[float]) -> list[tuple[int, Output]]:
        late = self._skip_late(steps)
        if not late:
            return self._phase.feed(steps, values)
        return [(late + i, output) for i, output in self._phase.feed(steps[late:], values[late:])]

    def _skip_late(self, steps: list[int]) -> int:
        """Return how many of the first samples still belong to the phase before."""
        if self._phase_from is None:
            return 0
        late = min(bisect_left(steps, self._phase_from), MAX_LATE - self._late)
        self._late += late
        if late < len(steps):
            self._phase_from = None
        return late

    def restart(self, phase_from: int | None = None) -> None:
        """Begin a new phase. The detectors of the run continue: what the run had reached is what divergence is judged by.

        Args:
            phase_from: First step of the new phase, where it is known; samples before it may still come.
        """
        self._restart("phase")
        self._phase.clear()
        self._phase_from, self._late = phase_from, 0

    def rewind(self, step: int) -> bool:
        """Begin another run: the steps went back to `step`, as after a resume, and nothing from before is comparable.

        Returns:
            Whether it is another one indeed, so that what the metric has gained so far says nothing of it.
        """
        self._restart("run", "phase")
        for trends in self._trends:
            trends.rewound()
        self._run.clear()
        self._phase.clear()
        self._step = self._phase_from = None
        return self._progress.rewind(step)

    def _restart(self, *scopes: str) -> None:
        for detector in self._detectors.values():
            if detector.SCOPE in scopes:
                detector.restart()

    def state(self) -> dict[str, Any]:
        """See `Checkpointed.state`."""
        return {**super().state(), "detectors": {kind: one.state() for kind, one in self._detectors.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Checkpointed.restore`."""
        super().restore(state)
        for kind, saved in state["detectors"].items():
            self._detectors[kind].restore(saved)


def _finite(steps: Ints, values: Floats) -> tuple[list[int], list[int], list[float]]:
    """Return index, step and value of the finite samples; shape (n,) each."""
    index = np.flatnonzero(np.isfinite(values))
    return index.tolist(), steps[index].tolist(), values[index].tolist()
