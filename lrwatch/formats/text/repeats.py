"""Several processes of one training print the same lines into one log: each value counts once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lrwatch.core.sample import Batch, Column


class Repeats:
    """Drops a value that its metric already had at the same step."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float]] = {}

    def dropped(self, batch: Batch) -> Batch:
        """The batch without what is said again. Only steps tell: an epoch has many lines, and a count of records grows."""
        if batch.axis != "step" or not batch.rows:
            return batch
        columns: dict[str, Column] = {}
        changed = False
        for name, column in batch.columns.items():
            if not len(column.rows):
                continue
            steps, values = batch.steps[column.rows], column.values
            before = self._last.get(name, (-1, 0.0))
            again = steps == np.concatenate([[before[0]], steps[:-1]])
            self._last[name] = int(steps[-1]), float(values[-1])
            if again.any():
                earlier = np.concatenate([[before[1]], values[:-1]])
                again &= (values == earlier) | (np.isnan(values) & np.isnan(earlier))
                if again.any():
                    changed = True
                    column = Column(column.rows[~again], values[~again])
            columns[name] = column
        if not changed:
            return batch
        return Batch(batch.steps, columns, batch.axis, batch.lines, batch.errors, batch.smoothing)

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {name: [step, repr(value)] for name, (step, value) in self._last.items()}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Repeats:
        """The inverse of `state`."""
        repeats = cls()
        repeats._last = {name: (step, float(value)) for name, (step, value) in state.items()}
        return repeats
