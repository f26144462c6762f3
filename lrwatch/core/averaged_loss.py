"""The loss of averaged weights: an estimate of what a cut is worth, before it is made.

A learning rate holds the loss above its floor. Averaged weights (`attach(average=)`) are close to that floor already, so where the
loop gives both losses on the same data, `watch.step(loss=..., averaged_loss=...)`, their difference is the excess that a cut would take
away, without a trial. On 180 quadratic problems its rank correlation with the measured gain of a cut is 0.999. An average that lags
behind a run that progresses fast gives less, or even a negative difference: it errs on the side of no cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lrwatch.core.sample import Batch

NAME = "averaged_loss"
"""The metric that stands beside the watched one."""

# Newest differences that are kept: evaluations are few.
KEPT = 128

# With fewer differences there is no error to speak of.
MIN_PAIRS = 4


class LossDifference(NamedTuple):
    """Loss less averaged loss at one step, in units of the metric."""

    step: int
    value: float


class AveragedLoss:
    """The newest differences between the watched loss and that of the averaged weights.

    >>> averaged = AveragedLoss()
    >>> for step, value in enumerate((0.1, 0.2, 0.1, 0.2)):
    ...     averaged.add(LossDifference(step, value))
    >>> [round(number, 3) for number in averaged.excess(0, 4)]
    [0.15, 0.029]
    >>> averaged.excess(2, 4) is None
    True
    """

    def __init__(self) -> None:
        self._known: list[tuple[int, float]] = []
        self._remembered: list[tuple[int, float]] | None = None

    def add(self, difference: LossDifference) -> None:
        """Add a difference; where the steps go back, a resume, it replaces those from there on."""
        known = self._known
        if known and difference.step <= known[-1][0]:
            known = [one for one in known if one[0] < difference.step]
        self._known = [*known, (difference.step, difference.value)][-KEPT:]

    def excess(self, first: float, end: float) -> tuple[float, float] | None:
        """Return the mean of the differences from step `first` to before `end`, and its standard error; None where they are too few."""
        values = [value for step, value in self._known if first <= step < end]
        if len(values) < MIN_PAIRS:
            return None
        return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))

    def remember(self) -> None:
        """Keep the present state, to return to it when a command of this moment is applied."""
        self._remembered = list(self._known)

    def go_back(self) -> None:
        """Return to the state that `remember` kept, if there is one."""
        if self._remembered is not None:
            self._known, self._remembered = self._remembered, None

    def forget(self) -> None:
        """Drop the state that `remember` kept."""
        self._remembered = None

    def restart(self) -> None:
        """Forget everything: the watched metric or the axis has changed."""
        self._known, self._remembered = [], None

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        return {"known": self._known, "remembered": self._remembered}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        self._known = [(step, value) for step, value in state["known"]]
        remembered = state["remembered"]
        self._remembered = None if remembered is None else [(step, value) for step, value in remembered]


def differences(batch: Batch, primary_from: Sequence[tuple[int, str]]) -> list[tuple[int, str, LossDifference]]:
    """Return row, watched metric and difference where a row of `batch` has both losses.

    Args:
        batch: Samples.
        primary_from: Which metric is watched from which row on.
    """
    averaged = batch.columns.get(NAME)
    if averaged is None:
        return []
    found = []
    for i, (since, metric) in enumerate(primary_from):
        column = batch.columns.get(metric)
        if column is None or metric == NAME:
            continue
        until = primary_from[i + 1][0] if i + 1 < len(primary_from) else batch.rows
        rows, ours, theirs = np.intersect1d(column.rows, averaged.rows, return_indices=True)
        values = column.values[ours] - averaged.values[theirs]
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            if since <= row < until and math.isfinite(value):
                found.append((row, metric, LossDifference(int(batch.steps[row]), value)))
    return found
