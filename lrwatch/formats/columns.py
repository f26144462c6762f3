"""Records into a `Batch`: the common part of all formats.

The axis. A record is placed by its own step; if it has none, by the last step of the log (Lightning and AlgoPerf write
evaluation rows without one). The records of a log without any step are placed by their epoch while epochs are whole
numbers, and otherwise by their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import role, step_rank
from lrwatch.core.sample import Axis, Batch, Column, Floats, Ints
from lrwatch.formats.counters import Counters, restarts
from lrwatch.formats.totals import Totals, column_states_length

# The largest whole number that a float64, and so JSON, holds exactly. A greater or negative number is no step.
_LARGEST_STEP = 2.0**53

# Columns whose layout is remembered: those of most logs.
_FEW_COLUMNS = 64

Bools = npt.NDArray[np.bool_]


class Columns:
    """Collector of the values of one read, in any order, column by column."""

    def __init__(self) -> None:
        self._parts: dict[str, list[tuple[Ints, Floats]]] = {}

    def add(self, name: str, rows: Sequence[int] | Ints, values: Sequence[float] | Floats) -> None:
        """Add values of one metric.

        Args:
            name: Name of the metric.
            rows: Number of the record of each value, shape (n,), ascending.
            values: The values, shape (n,).
        """
        self._parts.setdefault(name, []).append((np.asarray(rows, np.int64), np.asarray(values, np.float64)))

    def finish(self) -> dict[str, Column]:
        """Return the columns. Of several values of one metric in one record the last one counts."""
        finished: dict[str, Column] = {}
        rising: Ints | None = None  # columns of records of one shape share their rows
        for name, parts in self._parts.items():
            rows, values = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
            if rows is not rising and not np.logical_and.reduce(rows[1:] > rows[:-1]):
                finished[name] = _ordered(rows, values)
            else:
                finished[name], rising = Column(rows, values), rows
        return finished


@lru_cache(maxsize=256)
def _layout(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return which of some columns are steps, the best first, and epochs; and all that are no steps. The last two are in order."""
    steps = sorted((name for name in names if role(name) == "step"), key=lambda name: (step_rank(name), name))
    epochs = sorted(name for name in names if role(name) == "epoch")
    return tuple(steps), tuple(epochs), tuple(sorted({*names} - {*steps}))


def _in_rows(column: Column, chosen: Bools) -> Column:
    which = chosen[column.rows]
    return Column(column.rows[which], column.values[which])


def _ordered(rows: Ints, values: Floats) -> Column:
    order = np.argsort(rows, kind="stable")
    rows, values = rows[order], values[order]
    last = np.append(np.diff(rows) > 0, True)
    return Column(rows[last], values[last])


@dataclass
class StepAxis(Checkpointed):
    """Placement of records on the axis of steps.

    Attributes:
        axis: Unit of the steps at present.
        last: The last step or epoch of the log.
        records: Number of records with samples so far.
        fractional: There were epochs with a fraction, so epochs cannot be the axis.
        totals: What the log states about its length.
        counters: Counters of batches that restart with each epoch.
        has_step: Which rows of the last batch have a step of their own, shape (rows,); no state.
    """

    SAVED: ClassVar[tuple[str, ...]] = ("axis", "last", "records", "fractional", "totals", "counters")

    axis: Axis = "record"
    last: int = 0
    records: int = 0
    fractional: bool = False
    totals: Totals = field(default_factory=Totals)
    counters: Counters = field(default_factory=Counters)
    has_step: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))

    def batch(self, count: int, found: Columns, *, lines: int = 0, errors: Mapping[str, int] | None = None) -> Batch:
        """Place `count` records.

        Args:
            count: Number of records.
            found: Their values. Steps and epochs among them place the records; epochs are metrics too, because an axis
                of steps or records does not show them.
            lines: For `Batch.lines`.
            errors: For `Batch.errors`.

        Returns:
            The records that have samples. Metrics are in the order of their names, whatever the cut of the log.
        """
        columns = found.finish()
        layout = _layout if len(columns) <= _FEW_COLUMNS else _layout.__wrapped__
        step_names, epoch_names, metric_names = layout(tuple(columns))
        metrics: Mapping[str, Column] = {name: columns[name] for name in metric_names}
        steps = None if epoch_names else self._placed_at_once(count, columns, step_names, metric_names)
        if steps is None:
            steps, metrics = self._placed_by_parts(count, columns, step_names, epoch_names, metrics)
        for name, column in metrics.items():
            if column_states_length(name) and len(column.rows):
                self.totals.state_column(steps[column.rows].tolist(), column.values.tolist())
        self.totals.place(steps)
        total = self.totals.length(self.axis)
        return Batch(steps, metrics, self.axis, lines, {} if errors is None else errors, total_steps=total)

    def _placed_at_once(
        self, count: int, columns: Mapping[str, Column], step_names: Sequence[str], metric_names: Sequence[str]
    ) -> Ints | None:
        """Return the steps where each record has one and a sample, as nearly always; else None."""
        if not step_names or not any(len(columns[name].rows) == count for name in metric_names):
            return None
        places = columns[step_names[0]].values
        if len(places) < count or not np.logical_and.reduce(places == np.floor(places)):  # NaN equals nothing
            return None
        if np.minimum.reduce(places) < 0 or np.maximum.reduce(places) > _LARGEST_STEP:
            return None
        steps: Ints = places.astype(np.int64)
        self.has_step = np.ones(count, np.bool_)
        self.axis, self.last = "step", int(steps[-1])
        self.records += count
        return steps

    def _placed_by_parts(
        self, count: int, columns: Mapping[str, Column], step_names: Sequence[str], epoch_names: Sequence[str],
        metrics: Mapping[str, Column],
    ) -> tuple[Ints, Mapping[str, Column]]:  # fmt: skip
        """Return the places of the records that have samples, and the metrics with rows that number those."""
        has_samples = np.zeros(count, np.bool_)
        for name, column in metrics.items():
            if name in epoch_names:
                continue
            if len(column.rows) == count:
                has_samples[:] = True
                break
            has_samples[column.rows] = True
        own = _first_usable(count, [columns[name] for name in step_names], whole=True)
        epochs = _first_usable(count, [columns[name] for name in epoch_names], whole=False)
        if epoch_names and step_names and restarts(step_names[0]):
            own = self._counted(own, epochs)
        self.has_step = ~np.isnan(own)
        steps = self._place(own, epochs, has_samples)
        if not has_samples.all():
            steps, self.has_step = steps[has_samples], self.has_step[has_samples]
            new_row = np.cumsum(has_samples) - 1
            metrics = {
                name: Column(new_row[part.rows], part.values)
                for name, column in metrics.items()
                if len((part := _in_rows(column, has_samples)).rows)
            }
        return steps, metrics

    def _counted(self, batches: Floats, epochs: Floats) -> Floats:
        """Return the steps of records with the number of a batch within its epoch; NaN where there is no number."""
        steps = np.full(len(batches), np.nan)
        for i, (batch, epoch) in enumerate(zip(batches.tolist(), epochs.tolist(), strict=True)):
            if epoch == epoch:
                self.counters.enter(epoch)
            if batch == batch:
                steps[i] = self.counters.step(int(batch), None, named=False)
        return steps

    def _place(self, steps: Floats, epochs: Floats, has_samples: Bools) -> Ints:
        """Return the place of each record. NaN in `steps` or `epochs` (shape (n,) each) means that it has none."""
        if len(steps) == 0:
            return np.empty(0, np.int64)
        missing = np.isnan(steps)
        if not missing.any():
            self.axis, self.last = "step", int(steps[-1])
            self.records += int(has_samples.sum())
            return steps.astype(np.int64)
        if self.axis == "record" and missing.all() and np.isnan(epochs).all():
            places = self.records + np.cumsum(has_samples) - has_samples
            self.records += int(has_samples.sum())
            return places
        return np.array(
            [
                self._place_one(*record)
                for record in zip(steps.tolist(), epochs.tolist(), has_samples.tolist(), strict=True)
            ],
            np.int64,
        )

    def _place_one(self, step: float, epoch: float, has_samples: bool) -> int:
        if step == step:  # not NaN
            self.axis, self.last = "step", int(step)
        elif self.axis != "step" and epoch == epoch:
            if not epoch.is_integer():
                self.fractional = True
                self.axis = "record"
            elif not self.fractional:
                self.axis, self.last = "epoch", int(epoch)
        place = self.records if self.axis == "record" else self.last
        self.records += has_samples
        return place


def _first_usable(count: int, columns: Sequence[Column], *, whole: bool) -> Floats:
    """Return for each record the first value in `columns` that can be a place, NaN if there is none. Shape (count,)."""
    places = np.full(count, np.nan)
    for column in reversed(columns):
        values = column.values
        usable = (values >= 0) & (values <= _LARGEST_STEP)  # False for NaN
        if whole:
            usable &= values == np.floor(values)
        if column is columns[0] and len(values) == count and usable.all():  # as nearly always
            return values
        places[column.rows[usable]] = values[usable]
    return places
