"""Samples: one value of one metric (`Sample`), or the columns of many in log order (`Batch`).

A batch is column-wise because a log is: a few metrics, many rows. `row` numbers the records of one read, so that
samples of several metrics can be put back into the order of the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Axis = Literal["step", "epoch", "record"]
"""What `step` counts: optimizer steps, epochs (the log has nothing finer), or records (the log has neither)."""

Smoothing = Literal["raw", "window", "running"]
"""How a trainer smoothed a value before it wrote it: not at all; mean or median over the steps since the last one that was
written; mean over all steps since the epoch began, which is no new information at each step and jumps at each epoch."""

PART_ROWS = 50_000
"""Rows that are judged at once: more than a read of lines has, and few enough that what is made of them is soon forgotten."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Sample(NamedTuple):
    """One value of one metric. `time` is seconds since the epoch, where the log says so."""

    metric: str
    step: int
    value: float
    time: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """The values of one metric in a batch.

    Attributes:
        rows: Row numbers within the batch, ascending, shape (n,).
        values: The values, in the metric's own unit, shape (n,). NaN and infinities are values like any other.
    """

    rows: Ints
    values: Floats


@dataclass(frozen=True, slots=True)
class Batch:
    """The samples of one read, in log order.

    Attributes:
        steps: Step of each row, shape (rows,).
        columns: Metric name to its values.
        axis: What `steps` counts.
        lines: Complete lines that were looked at, with or without samples.
        errors: Reason to the number of lines that could not be used, for the counters.
        smoothing: How the metrics were smoothed that are known not to be raw.
        total_steps: Length of the run as its log states it up to here, counted as `steps` are; 0 where it does not, or
            contradicts itself.
    """

    steps: Ints
    columns: Mapping[str, Column]
    axis: Axis = "step"
    lines: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    smoothing: Mapping[str, Smoothing] = field(default_factory=dict)
    total_steps: int = 0

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.steps)

    def steps_of(self, column: Column) -> Ints:
        """Return the step of each value of `column`, shape (n,)."""
        return self.steps if len(column.rows) == len(self.steps) else self.steps[column.rows]

    def by_first_row(self) -> list[tuple[str, Column]]:
        """Return the columns that have samples, in the order in which they appear in the log."""
        columns = [(name, column) for name, column in self.columns.items() if len(column.rows)]
        if all(len(column.rows) == self.rows for _, column in columns):
            return columns
        return sorted(columns, key=lambda item: int(item[1].rows[0]))

    def part(self, start: int, end: int) -> Batch:
        """Return the rows from `start` to before `end`, without the counts of lines and errors."""
        if (start, end) == (0, self.rows):
            return self
        columns = {}
        for name, column in self.columns.items():
            low, high = np.searchsorted(column.rows, [start, end])
            if low < high:
                columns[name] = Column(column.rows[low:high] - start, column.values[low:high])
        return replace(self, steps=self.steps[start:end], columns=columns)

    def parts(self) -> Iterator[Batch]:
        """Yield the rows in parts that are judged at once: a document has all its rows in one batch."""
        for start in range(0, self.rows, PART_ROWS):
            yield self.part(start, min(start + PART_ROWS, self.rows))

    def __len__(self) -> int:
        """Return the number of samples."""
        return sum(len(c.values) for c in self.columns.values())

    def samples(self) -> Iterator[Sample]:
        """Yield the samples one by one, in log order. Slow; for tests and small logs."""
        found = [
            (int(row), order, name, float(value))
            for order, (name, column) in enumerate(self.columns.items())
            for row, value in zip(column.rows, column.values, strict=True)
        ]
        for row, _, name, value in sorted(found, key=lambda f: f[:2]):
            yield Sample(name, int(self.steps[row]), value)
