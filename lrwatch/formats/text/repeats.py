"""Repeated values: several processes of one training print the same lines into one log, and each value counts once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import role
from lrwatch.core.sample import Batch, Column

Bools = npt.NDArray[np.bool_]


class Repeats(Checkpointed):
    """Filter of values that their metric already had at the same step, with no other step between."""

    SAVED: ClassVar[tuple[str, ...]] = ("_step", "_stretch")

    def __init__(self) -> None:
        self._step = -1  # of the last row
        self._stretch = 0  # number of changes of the step from one row to the next
        self._last: dict[str, tuple[int, float]] = {}  # metric -> stretch and value

    def drop(self, batch: Batch, has_step: Bools) -> Batch:
        """Return the batch without repeated values.

        Args:
            batch: The batch.
            has_step: Which of its rows have a step of their own, shape (rows,). Only those can be repetitions.
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
            repeated = (np.diff(places, prepend=before[0]) == 0) & has_step[column.rows]
            self._last[name] = int(places[-1]), float(values[-1])
            if repeated.any():
                earlier = np.concatenate([[before[1]], values[:-1]])
                repeated &= (values == earlier) | (np.isnan(values) & np.isnan(earlier))
                if repeated.any():
                    changed = True
                    column = Column(column.rows[~repeated], values[~repeated])
            columns[name] = column
        if not changed:
            return batch
        return replace(batch, columns=columns)

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values. The last values are text, because JSON has no NaN."""
        last = {name: [stretch, repr(value)] for name, (stretch, value) in self._last.items()}
        return {**super().state(), "last": last}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        super().restore(state)
        self._last = {name: (stretch, float(value)) for name, (stretch, value) in state["last"].items()}
