"""Several processes of one training print the same lines into one log: each value counts once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lrwatch.core.names import role
from lrwatch.core.sample import Batch, Column

Bools = npt.NDArray[np.bool_]


class Repeats:
    """Drops a value that its metric already had at the same step, while no other step came between."""

    def __init__(self) -> None:
        self._step = -1  # of the last row
        self._stretch = 0  # how often the step changed from one row to the next
        self._last: dict[str, tuple[int, float]] = {}  # metric -> stretch and value

    def dropped(self, batch: Batch, said: Bools) -> Batch:
        """The batch without what is said again.

        Args:
            batch: The batch.
            said: Which of its rows the log itself gave a step, shape (rows,). Only those can tell.
        """
        if not batch.rows:
            return batch
        stretches = self._stretch + np.cumsum(np.diff(batch.steps, prepend=self._step) != 0)
        self._step, self._stretch = int(batch.steps[-1]), int(stretches[-1])
        columns: dict[str, Column] = {}
        changed = False
        for name, column in batch.columns.items():
            if role(name) == "epoch":
                columns[name] = column
                continue
            places, values = stretches[column.rows], column.values
            before = self._last.get(name, (-1, 0.0))
            again = (np.diff(places, prepend=before[0]) == 0) & said[column.rows]
            self._last[name] = int(places[-1]), float(values[-1])
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
        last = {name: [stretch, repr(value)] for name, (stretch, value) in self._last.items()}
        return {"step": self._step, "stretch": self._stretch, "last": last}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Repeats:
        """The inverse of `state`."""
        repeats = cls()
        repeats._step, repeats._stretch = state["step"], state["stretch"]
        repeats._last = {name: (stretch, float(value)) for name, (stretch, value) in state["last"].items()}
        return repeats
