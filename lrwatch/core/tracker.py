"""One watched metric: the row of detectors that its samples pass, in order."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lrwatch.core.detectors.divergence import DivergenceDetector
from lrwatch.core.detectors.nonfinite import NonFiniteDetector
from lrwatch.core.detectors.oscillation import OscillationDetector
from lrwatch.core.detectors.plateau import PlateauDetector, Shift, Trend
from lrwatch.core.detectors.spike import SpikeDetector
from lrwatch.core.detectors.too_slow import TooSlowDetector
from lrwatch.core.events import Finding, Phase
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats, Ints

# Samples of the old phase that may still come after the new one is known: what a log buffers, and no more, so that a trainer
# whose step count is not the log's does not silence its metric.
MAX_LATE = 2048

# Fewer values than this are looked at one by one: it costs less than to call numpy.
FEW = 32


# Values that are handed on together to the detectors that judge groups of values anyway.
GROUP = 16

Said = Finding | Trend | Phase


class _Groups:
    """Collects samples until there are GROUP of them: a call for each sample would cost more than what is done there."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._values: list[float] = []

    def feed(self, steps: list[int], values: list[float], at: int) -> Iterable[tuple[int, list[int], list[float]]]:
        """Take samples from index `at` on. -> whole groups, each with the index of its last sample."""
        if len(self._values) + len(values) - at >= GROUP:
            return self._whole(steps, values, at)
        self._steps += steps[at:]
        self._values += values[at:]
        return ()

    @property
    def room(self) -> int:
        """How many more samples make a whole group."""
        return GROUP - len(self._values)

    def _whole(self, steps: list[int], values: list[float], at: int) -> Iterator[tuple[int, list[int], list[float]]]:
        while at < len(values):
            end = min(at + GROUP - len(self._values), len(values))
            self._steps += steps[at:end]
            self._values += values[at:end]
            at = end
            if len(self._values) == GROUP:
                group = self._steps, self._values
                self._steps, self._values = [], []
                yield at - 1, *group

    def state(self) -> list[list[Any]]:
        """JSON-plain state."""
        return [self._steps, self._values]

    def restore(self, state: list[list[Any]]) -> None:
        """The inverse of `state`."""
        self._steps, self._values = (list(part) for part in state)


class Tracker:
    """The detectors of one metric of one run.

    Args:
        metric: Its name.
        options: What counts as a plateau.
        judged: Whether there is more to say of it than that it is not finite. A mean since the epoch began is not judged: one
            value is hardly news to the one before, and where an epoch begins it jumps.
    """

    def __init__(self, metric: str, options: DetectOptions, *, judged: bool = True) -> None:
        self.metric = metric
        self.judged = judged
        self._options = options
        self._nonfinite = NonFiniteDetector(metric)
        self._plateau = PlateauDetector(options, metric)
        self._start_run()
        self._start_phase()
        self._step: int | None = None
        self._phase_from: int | None = None
        self._late = 0

    def _start_run(self) -> None:
        """What is judged by the whole run, whatever its phases."""
        self._groups = _Groups()
        self._divergence = DivergenceDetector(self.metric, self._options.direction)
        self._spike = SpikeDetector(self.metric, self._options.direction)

    def _start_phase(self) -> None:
        """What is judged by a phase alone, beside the trend."""
        self._phase_groups = _Groups()
        self._oscillation = OscillationDetector(self.metric, self._options.direction)
        self._too_slow = TooSlowDetector(self.metric, self._options.direction)

    @property
    def trend(self) -> Trend | None:
        """The newest trend of this phase."""
        return self._plateau.trend

    @property
    def last_trend(self) -> Trend | None:
        """`trend`, or one from before, at no cost."""
        return self._plateau.last_trend

    @property
    def silent(self) -> int:
        """So many further samples, if finite and in order, surely lead to nothing being said."""
        return min(self._groups.room, self._phase_groups.room, self._plateau.room) - 1

    def rewinds(self, steps: Ints) -> list[int]:
        """Indices of `steps` (shape (n,), n >= 1) that lie before the step in front of them."""
        back = []
        if len(steps) > 1 and (falls := steps[1:] < steps[:-1]).any():
            back = (np.flatnonzero(falls) + 1).tolist()
        return [0, *back] if self._step is not None and steps[0] < self._step else back

    def feed(self, steps: Ints, values: Floats, worth: float | None = None) -> list[tuple[int, Said]]:
        """Take samples of one phase (shape (n,) each). -> findings, looks and phases, each with the index of its sample.

        With `worth`, only those looks that may matter: see `PlateauDetector.feed_from`.
        """
        places, plain = steps.tolist(), values.tolist()
        self._step = places[-1]
        if all(map(math.isfinite, plain)) if len(plain) < FEW else np.isfinite(values).all():
            self._nonfinite.feed_finite(len(plain))
            return self._feed_finite(places, plain, worth)
        found: list[tuple[int, Said]] = list(self._nonfinite.feed(steps, values))
        index = np.flatnonzero(np.isfinite(values))
        inner = self._feed_finite(steps[index].tolist(), values[index].tolist(), worth)
        return [*found, *((int(index[i]), said) for i, said in inner)]

    def _feed_finite(self, steps: list[int], values: list[float], worth: float | None) -> list[tuple[int, Said]]:
        if not self.judged:
            return []
        found: list[tuple[int, Said]] = []
        for last, places, group in self._groups.feed(steps, values, 0):
            found.extend((last, finding) for _, finding in self._divergence.feed_lists(places, group))
            found.extend((last, finding) for _, finding in self._spike.feed_lists(places, group))
        return [*found, *self._of_phase(steps, values, worth)]

    def reread(self, steps: Ints, values: Floats) -> list[tuple[int, Said]]:
        """Samples of the new phase that were fed before it was known (shape (n,) each), once more for what a phase says.

        That they were not finite, or had diverged, or spiked, was said when they came.
        """
        if not self.judged:
            return []
        index = np.flatnonzero(np.isfinite(values))
        return [
            (int(index[i]), said) for i, said in self._of_phase(steps[index].tolist(), values[index].tolist(), None)
        ]

    def _of_phase(self, steps: list[int], values: list[float], worth: float | None) -> list[tuple[int, Said]]:
        found: list[tuple[int, Said]] = []
        at = self._skip_late(steps)
        for last, places, group in self._phase_groups.feed(steps, values, at):
            found.extend((last, finding) for _, finding in self._oscillation.feed_lists(places, group))
            found.extend((last, finding) for _, finding in self._too_slow.feed_lists(places, group))
        while at < len(values):
            taken, trend = self._plateau.feed_from(steps, values, at, worth)
            at += taken
            if isinstance(trend, Shift):
                found.append((at - 1, self._shifted(trend)))
            elif trend is not None:
                finding = self._plateau.finding(trend)
                found.extend((at - 1, said) for said in (finding, trend) if said is not None)
        return found

    def _shifted(self, shift: Shift) -> Phase:
        message = (
            f"the level of {self.metric} went from {shift.before:.4g} to {shift.after:.4g} at once and stays there"
        )
        return Phase(shift.step, "level_shift", message)

    def _skip_late(self, steps: list[int]) -> int:
        """How many of the first samples still belong to the phase before."""
        if self._phase_from is None:
            return 0
        late = min(bisect_left(steps, self._phase_from), MAX_LATE - self._late)
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
        self._start_phase()
        self._phase_from, self._late = phase_from, 0

    def rewind(self) -> None:
        """The steps went back: the run was resumed, or another began in the same log. Nothing from before compares."""
        self._plateau.restart()
        self._start_run()
        self._start_phase()
        self._step = self._phase_from = None

    def _parts(self) -> dict[str, Any]:
        return {
            "nonfinite": self._nonfinite,
            "groups": self._groups,
            "divergence": self._divergence,
            "spike": self._spike,
            "phase_groups": self._phase_groups,
            "oscillation": self._oscillation,
            "too_slow": self._too_slow,
            "plateau": self._plateau,
        }

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {
            **{name: part.state() for name, part in self._parts().items()},
            "step": self._step,
            "phase_from": self._phase_from,
            "late": self._late,
            "judged": self.judged,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        for name, part in self._parts().items():
            if name in state:  # in a state of version 0.1 not all are; those begin anew
                part.restore(state[name])
        self.judged = state.get("judged", True)
        self._step, self._phase_from, self._late = state["step"], state["phase_from"], state["late"]
