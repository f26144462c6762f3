"""The protocol of a detector: samples in, findings out, and a state that is plain JSON.

A detector watches one metric of one run, or a pair of metrics, or the clock. It has one verb, `feed`, and class attributes
that declare what it needs. Nothing else in the package names it: the trackers, the pair of training and validation,
and the conformance suite go through `REGISTRY` in `lrwatch.core.detectors`. To add one:

1. Write `lrwatch/core/detectors/NAME.py`: a subclass of `Detector` with `KIND`, `SAVED`, `feed` and `restart`, a docstring
   that says what it accumulates, how often it errs and where its thresholds come from, and a doctest.
2. Add its line to `REGISTRY`, and where its kind is new, a row to `lrwatch.core.events.KINDS`.
3. Write `tests/core/detectors/test_NAME.py`: what it finds, and what it must not find. What every detector promises is
   checked over the registry (`lrwatch.testing.check_detector`).

>>> class Record(Detector[float]):
...     '''Report a value below all values before it.'''
...     KIND = "plateau"
...     SAVED = ("_best",)
...
...     def restart(self):
...         self._best = float("inf")
...
...     def feed(self, steps, values):
...         found = []
...         for index, (step, value) in enumerate(zip(steps, values)):
...             if value < self._best:
...                 found.append((index, self._finding(step, {"was": self._best}, f"{self._name} is at {value:g}")))
...                 self._best = value
...         return found
>>> [(index, finding.message) for index, finding in Record("loss").feed([10, 20, 30], [3.0, 4.0, 2.0])]
[(0, 'loss is at 3'), (2, 'loss is at 2')]
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.events import Evidence, Finding, Kind, Phase
from lrwatch.core.options import DetectOptions

if TYPE_CHECKING:
    from lrwatch.core.detectors.plateau import Trend

Needs = Literal["metric", "pair", "clock"]
"""What a sample of a detector is: a value of one metric (`float`), a `Pair` of two, or a `Poll` of the log with its time."""

Scope = Literal["log", "run", "phase"]
"""What a detector compares samples with: all of the log, the run since the steps went back, or the phase."""

Output: TypeAlias = "Finding | Trend | Phase"
"""What a detector yields: findings, and where it follows the trend, the looks at it and the phases that begin."""

DEFAULTS = DetectOptions()


class Pair(NamedTuple):
    """A validation value, and the mean of the training values since the one before. Both are finite."""

    val: float
    train: float


class Poll(NamedTuple):
    """One look into the log files: its time in seconds, and whether there were new samples."""

    time: float
    arrived: bool


LARGEST = math.nextafter(math.inf, 0.0)
"""The largest number, which stands for infinity in a state that is plain JSON."""


class Silence(NamedTuple):
    """How long no output is guaranteed: for the next `samples` samples, as long as they lie between `low` and `high`, both included."""

    samples: int = 0
    low: float = -LARGEST
    high: float = LARGEST

    @classmethod
    def of_all(cls, silences: Sequence[Silence]) -> Silence:
        """Return how long there is no output of several, one or more."""
        samples, lows, highs = zip(*silences, strict=True)
        return cls(min(samples), max(lows), min(highs))

    def at_most(self, samples: int) -> Silence:
        """Return the silence, shortened to so many samples where it is longer."""
        return self if self.samples <= samples else self._replace(samples=samples)

    def covers(self, values: Sequence[float]) -> bool:
        """Whether all values lie between the bounds."""
        return not values or self.low <= min(values) <= max(values) <= self.high


NO_SILENCE = Silence()
"""Nothing is guaranteed: the next sample may have an output."""


SampleT = TypeVar("SampleT", float, Pair, Poll)


class Detector(Checkpointed, ABC, Generic[SampleT]):
    """Base class and protocol of all detectors; see the module for how to add one.

    Args:
        metric: Name of the metric, of the validation metric for a pair; "" where it has none.
        options: Direction of the metric, error budget, and what counts as a plateau.
        train_metric: Name of the training metric, for a pair.

    Attributes:
        KIND: The kind of its findings, the same that `REGISTRY` and saved states know it by.
        NEEDS: What its samples are. A "metric" detector gets every watched metric, each in an instance of its own.
        SCOPE: When `restart` is called: "phase" at each new phase and where the steps go back, "run" only there, "log"
            never. A "phase" detector is also fed again the samples of a phase that came before its first step was known.
        FINITE_ONLY: Whether samples that are not finite are left out. If not, it gets every sample at once; if so, in
            groups of 16, and its findings count as made at the last sample of the group.
        SCALE_INVARIANT: Whether other units of the metric change nothing but the numbers; held by the conformance suite.
        SHIFT_INVARIANT: Whether another origin of the metric changes nothing but the numbers; likewise. It does where
            improvements are relative to the level.
        MAX_STATE_BYTES: Largest state as JSON; likewise. The state is saved with every event, for every metric.
    """

    KIND: ClassVar[Kind]
    NEEDS: ClassVar[Needs] = "metric"
    SCOPE: ClassVar[Scope] = "run"
    FINITE_ONLY: ClassVar[bool] = True
    SCALE_INVARIANT: ClassVar[bool] = True
    SHIFT_INVARIANT: ClassVar[bool] = True
    MAX_STATE_BYTES: ClassVar[int] = 8192

    def __init__(self, metric: str = "", options: DetectOptions = DEFAULTS, train_metric: str = "") -> None:
        self._metric = metric
        self._train_metric = train_metric
        self._options = options
        self._sign = 1.0 if options.direction == "min" else -1.0
        self.restart()

    @abstractmethod
    def restart(self) -> None:
        """Set every attribute of `SAVED` to its initial value: nothing from before is comparable."""

    @abstractmethod
    def feed(self, steps: list[int], values: list[SampleT]) -> Sequence[tuple[int, Output]]:
        """Take samples in log order. How they are cut into calls must not change the outputs.

        Args:
            steps: Steps of the samples, not falling.
            values: The samples, as many as steps; what they are says `NEEDS`.

        Returns:
            New outputs, each with the index of the sample that completed its evidence, in order.
        """

    @property
    def silence(self) -> Silence:
        """How long it is guaranteed to yield nothing, if all samples are finite and in order."""
        return NO_SILENCE

    @property
    def _name(self) -> str:
        """Name of the metric for messages."""
        return self._metric or "the metric"

    def _finding(self, step: int, evidence: Evidence, message: str) -> Finding:
        return Finding(self.KIND, self._metric, step, evidence, message)


class TrendDetector(Detector[float]):
    """A detector that also yields trends and phases. It gets every finite sample at once, not in groups.

    Attributes:
        threshold: None, or a relative improvement per horizon. Then the detector may skip a look that cannot change its
            findings and whose interval (`Trend.margin_now`) does not reach below the threshold.
        epoch_steps: Steps of an epoch, 0 while they are unknown: a horizon that is a fraction of the run lasts whole epochs.
    """

    threshold: float | None = None
    epoch_steps: int = 0

    def rewound(self) -> None:
        """Learn that the steps went back: what comes now is new, though its steps were there before."""

    @property
    @abstractmethod
    def trend(self) -> Trend | None:
        """The newest trend of this phase, or None where the newest look could not estimate one."""

    @property
    @abstractmethod
    def last_trend(self) -> Trend | None:
        """The newest trend that is already computed: `trend` or an earlier one, at no cost."""

    @property
    @abstractmethod
    def samples(self) -> int:
        """Number of samples of this phase."""

    @property
    @abstractmethod
    def plateau_since(self) -> int | None:
        """The step at which a plateau was found, until the metric improves significantly again; else None."""

    @property
    @abstractmethod
    def tells_at(self) -> int | None:
        """The step from which on it can tell a metric that does not improve, while it cannot; None once it could."""
