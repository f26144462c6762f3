"""Batches for the tests of the core, made from plain columns and cut anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lrwatch.core.events import Event
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.sample import Batch, Column

Values = npt.NDArray[np.float64]


def batch(steps: npt.ArrayLike, columns: Mapping[str, npt.ArrayLike], absent: float | None = None) -> Batch:
    """Every column has a value in every row, save where it is `absent`."""
    made = {}
    for name, column in columns.items():
        values = np.asarray(column, np.float64)
        rows = np.flatnonzero(values != absent) if absent is not None else np.arange(len(values))
        made[name] = Column(rows, values[rows])
    return Batch(np.asarray(steps, np.int64), made)


def cut(whole: Batch, cuts: Iterable[int]) -> list[Batch]:
    """Return the same rows in several reads, cut at the rows `cuts`."""
    pieces = []
    for start, end in pairwise([0, *sorted(set(cuts) - {0, whole.rows}), whole.rows]):
        columns = {}
        for name, column in whole.columns.items():
            inside = (column.rows >= start) & (column.rows < end)
            if inside.any():
                columns[name] = Column(column.rows[inside] - start, column.values[inside])
        pieces.append(Batch(whole.steps[start:end], columns, whole.axis))
    return pieces


def restarted(run: Pipeline) -> Pipeline:
    """Another run from the state of this one, gone through JSON."""
    again = Pipeline(run.detect, run.options)
    again.metrics.wanted = run.metrics.wanted
    again.restore(json.loads(json.dumps(run.state())))
    return again


def feed(run: Pipeline, batches: Sequence[Batch]) -> list[Event]:
    """All that `run` says to `batches`."""
    return [event for each in batches for event in run.feed(each)]
