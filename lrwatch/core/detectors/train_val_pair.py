"""Training and validation of one run as one stream of pairs, for the detectors that need both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.detectors import make_detectors
from lrwatch.core.detectors.base import Output, Pair
from lrwatch.core.detectors.overfitting import OverfittingDetector
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Batch, Column, Floats, Ints

_EMPTY = Column(np.empty(0, np.int64), np.empty(0))


class TrainValPair(Checkpointed):
    """Pairs each validation value with the mean of the training values since the one before.

    A validation value with no training value since the one before makes a pair together with the next. What is not
    finite is left out.

    Args:
        train: Name of the training metric.
        val: Name of the validation metric.
        options: Options of the detectors.
    """

    SAVED = ("train", "val", "_step", "_train_sum", "_train_count", "_val_sum", "_val_count")

    def __init__(self, train: str, val: str, options: DetectOptions) -> None:
        self.train, self.val = train, val
        self._detectors = make_detectors("pair", val, options, train)
        self._step: int | None = None
        self._clear()

    @property
    def overfits(self) -> bool:
        """Whether overfitting was found, and validation has not come back since."""
        return any(isinstance(one, OverfittingDetector) and one.overfits for one in self._detectors.values())

    def _clear(self) -> None:
        self._train_sum, self._train_count = 0.0, 0
        self._val_sum, self._val_count = 0.0, 0

    def feed(self, batch: Batch, since: int = 0) -> list[tuple[int, Output]]:
        """Take the samples of `batch` from row `since` on.

        Returns:
            New outputs, each with the row of the validation value that completed its evidence.
        """
        if self.val not in batch.columns and not since:  # nearly always
            if (column := batch.columns.get(self.train)) is not None:
                self._add([value for value in column.values.tolist() if math.isfinite(value)])
            return []
        found: list[tuple[int, Output]] = []
        train, train_rows = _finite(batch.columns.get(self.train, _EMPTY), since)
        val, val_rows = _finite(batch.columns.get(self.val, _EMPTY), since)
        values = train.tolist()
        at = 0
        # A training value of the same row is of the time before the validation.
        until = np.searchsorted(train_rows, val_rows, side="right").tolist()
        for row, value, end in zip(val_rows.tolist(), val.tolist(), until, strict=True):
            self._add(values[at:end])
            at = end
            found.extend((row, output) for output in self._pair_up(int(batch.steps[row]), value))
        self._add(values[at:])
        return found

    def _add(self, train: list[float]) -> None:
        total = self._train_sum
        for value in train:  # `sum` rounds otherwise, so that the result would depend on how the values are cut
            total += value
        self._train_sum = total
        self._train_count += len(train)

    def _pair_up(self, step: int, val: float) -> list[Output]:
        if self._step is not None and step < self._step:  # another run in the same log, or a resume
            self._clear()
            for detector in self._detectors.values():
                detector.restart()
        self._step = step
        self._val_sum += val
        self._val_count += 1
        if not self._train_count:
            return []
        pair = Pair(self._val_sum / self._val_count, self._train_sum / self._train_count)
        self._clear()
        if not (math.isfinite(pair.val) and math.isfinite(pair.train)):  # a sum of the largest floats is not
            return []
        return [output for detector in self._detectors.values() for _, output in detector.feed([step], [pair])]

    def state(self) -> dict[str, Any]:
        """See `Checkpointed.state`."""
        return {**super().state(), "detectors": {kind: one.state() for kind, one in self._detectors.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Checkpointed.restore`."""
        super().restore(state)
        for kind, saved in state["detectors"].items():
            self._detectors[kind].restore(saved)


def _finite(column: Column, since: int) -> tuple[Floats, Ints]:
    """Return the finite values of a column from row `since` on, and their rows; shape (n,) each."""
    good = np.isfinite(column.values) & (column.rows >= since)
    return column.values[good], column.rows[good]
