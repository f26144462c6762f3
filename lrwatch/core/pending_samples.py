"""Samples that came while a command was on its way, in log order, to be read again once its first step is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lrwatch.core.sample import Batch, Column

# Samples that are kept for each metric. A trainer that logs 1,000 steps a second and answers within two seconds loses nothing;
# one that is slower to answer loses only the first samples of the new phase.
MAX_SAMPLES = 2048


class PendingSamples:
    """The newest MAX_SAMPLES samples of each metric since it was made."""

    def __init__(self) -> None:
        self._rows = 0
        self._samples: dict[str, deque[tuple[int, int, float]]] = {}

    def add(self, batch: Batch, metrics: Iterable[str], after: int = -1) -> None:
        """Keep the samples of `metrics` in the rows of `batch` after row `after`."""
        for name in metrics:
            if (column := batch.columns.get(name)) is not None:
                rows = column.rows[column.rows > after]
                values = column.values[len(column.rows) - len(rows) :]
                samples = zip(
                    (rows - after - 1 + self._rows).tolist(), batch.steps[rows].tolist(), values.tolist(), strict=True
                )
                self._samples.setdefault(name, deque(maxlen=MAX_SAMPLES)).extend(samples)
        self._rows += batch.rows - after - 1

    def since(self, step: int) -> Batch:
        """Return the samples of step `step` and later."""
        return self._batch({n: [sample for sample in k if sample[1] >= step] for n, k in self._samples.items()})

    def before(self, step: int) -> Batch:
        """Return the samples of steps before `step`."""
        return self._batch({n: [sample for sample in k if sample[1] < step] for n, k in self._samples.items()})

    @staticmethod
    def _batch(later: Mapping[str, list[tuple[int, int, float]]]) -> Batch:
        places = sorted({(row, at) for samples in later.values() for row, at, _ in samples})
        index = {row: i for i, (row, _) in enumerate(places)}
        columns = {
            name: Column(np.array([index[row] for row, _, _ in samples]), np.array([value for _, _, value in samples]))
            for name, samples in later.items()
            if samples
        }
        return Batch(np.array([at for _, at in places], np.int64), columns)

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        samples = {n: [[row, step, repr(value)] for row, step, value in k] for n, k in self._samples.items()}
        return {"rows": self._rows, "samples": samples}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> PendingSamples:
        """Return the samples whose `state` this is."""
        restored = cls()
        restored._rows = state["rows"]
        for name, samples in state["samples"].items():
            restored._samples[name] = deque(
                ((row, step, float(value)) for row, step, value in samples), maxlen=MAX_SAMPLES
            )
        return restored
