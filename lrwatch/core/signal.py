"""Signals: what the pipeline handles at one row of a log, and in which order."""

from __future__ import annotations

from typing import NamedTuple

from lrwatch.core.averaged_loss import LossDifference
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Finding, Phase
from lrwatch.core.lr_changes import Move
from lrwatch.core.progress import Improved
from lrwatch.core.watched_curve import CurvePart

# Ranks of what comes at one row before the detectors, whose ranks are 0 and more in the order of the metrics.
SCHEDULE = -2
REWIND = -1


class Tick(NamedTuple):
    """A value of the watched metric, for a strategy that goes by steps."""

    step: int
    value: float


class Expiry(NamedTuple):
    """The step has come from which on a proposal is void."""

    step: int


class Signal(NamedTuple):
    """One thing for the pipeline to handle.

    Attributes:
        row: The row in the batch.
        rank: The order within the row, ascending.
        metric: The metric that it is about, or "".
        what: A finding, a look at the trend, the beginning of a phase, a move of the schedule, a value, a part of the
            curve, that the metric has once improved, that a proposal is void, or the difference to the loss of averaged weights.
    """

    row: int
    rank: int
    metric: str
    what: Finding | Trend | Phase | Move | Tick | CurvePart | Improved | Expiry | LossDifference
