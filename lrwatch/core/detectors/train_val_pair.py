"""Training and validation of one run, side by side: what is only seen in both."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrwatch.core.detectors.overfitting import OverfittingDetector
from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Batch, Column

_NONE = Column(np.empty(0, np.int64), np.empty(0))


class TrainValPair:
    """A training loss and a validation loss.

    Args:
        train, val: Their names.
        options: Direction, and the budget of false alarms.
    """

    def __init__(self, train: str, val: str, options: DetectOptions) -> None:
        self.train, self.val = train, val
        self._options = options
        self._start_run()

    def _start_run(self) -> None:
        direction, budget = self._options.direction, self._options.false_alarms
        self._overfitting = OverfittingDetector(self.val, self.train, direction, budget)
        self._step: int | None = None

    def feed(self, batch: Batch, since: int = 0) -> list[tuple[int, Finding]]:
        """Take the samples of `batch` from row `since` on. -> what is new, each with its row."""
        if self.val not in batch.columns and not since:  # nearly always
            if (column := batch.columns.get(self.train)) is not None:
                self._overfitting.feed_train([value for value in column.values.tolist() if math.isfinite(value)])
            return []
        found: list[tuple[int, Finding]] = []
        train, train_rows = self._finite(batch, self.train, since)
        val, val_rows = self._finite(batch, self.val, since)
        at = 0
        # A training value of the same row is of the time before the validation.
        until = np.searchsorted(train_rows, val_rows, side="right").tolist()
        for row, value, end in zip(val_rows.tolist(), val, until, strict=True):
            self._overfitting.feed_train(train[at:end])
            at = end
            step = int(batch.steps[row])
            if self._step is not None and step < self._step:  # another run in the same log, or a resume
                self._start_run()
            self._step = step
            found.extend((row, finding) for _, finding in self._overfitting.feed_lists([step], [value]))
        self._overfitting.feed_train(train[at:])
        return found

    def _finite(self, batch: Batch, name: str, since: int) -> tuple[list[float], Any]:
        column = batch.columns.get(name, _NONE)
        good = np.isfinite(column.values) & (column.rows >= since)
        return column.values[good].tolist(), column.rows[good]

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {
            "train": self.train,
            "val": self.val,
            "step": self._step,
            "overfitting": self._overfitting.state(),
        }

    @classmethod
    def restore(cls, state: dict[str, Any], options: DetectOptions) -> TrainValPair:
        """The inverse of `state`."""
        pair = cls(state["train"], state["val"], options)
        pair._step = state["step"]
        pair._overfitting.restore(state["overfitting"])
        return pair
