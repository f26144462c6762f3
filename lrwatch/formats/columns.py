"""Records into a `Batch`: the part that all formats share.

The axis. A record is placed by the value of its step; where it has none, by the last step that the log gave (Lightning
and AlgoPerf write evaluation rows without one). A log without any step is placed by its epoch while epochs are whole
numbers, and otherwise by counting its records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lrwatch.core.names import role, step_rank
from lrwatch.core.sample import Axis, Batch, Column, Floats, Ints

# The largest whole number that a float64, and so JSON, holds exactly. A larger or negative step is none.
_LARGEST_STEP = 2.0**53

Bools = npt.NDArray[np.bool_]


class Columns:
    """Collects the values of the records of one read, in any order, column by column."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Ints]] = {}
        self._values: dict[str, list[Floats]] = {}

    def add(self, name: str, rows: Sequence[int] | Ints, values: Sequence[float] | Floats) -> None:
        """Values of one metric.

        Args:
            name: Its name.
            rows: Numbers of the records that they are in, shape (n,), ascending.
            values: Shape (n,).
        """
        self._rows.setdefault(name, []).append(np.asarray(rows, np.int64))
        self._values.setdefault(name, []).append(np.asarray(values, np.float64))

    def finish(self) -> dict[str, Column]:
        """The columns. Of several values of one metric in one record the last one counts."""
        return {name: _joined(self._rows[name], self._values[name]) for name in self._rows}


def _in_rows(column: Column, chosen: Bools) -> Column:
    which = chosen[column.rows]
    return Column(column.rows[which], column.values[which])


def _joined(rows: list[Ints], values: list[Floats]) -> Column:
    all_rows, all_values = (rows[0], values[0]) if len(rows) == 1 else (np.concatenate(rows), np.concatenate(values))
    if (np.diff(all_rows) > 0).all():
        return Column(all_rows, all_values)
    order = np.argsort(all_rows, kind="stable")
    all_rows, all_values = all_rows[order], all_values[order]
    last = np.append(np.diff(all_rows) > 0, True)
    return Column(all_rows[last], all_values[last])


@dataclass(slots=True)
class StepAxis:
    """Places records. All of it is state that must survive a restart.

    Attributes:
        axis: What the steps count at present.
        last: The last step or epoch that the log gave.
        records: How many records with samples there were.
        fractional: Epochs with a fraction were seen, so epochs cannot be the axis.
        said: Which rows of the last batch the log itself gave a step, shape (rows,); no state.
    """

    axis: Axis = "record"
    last: int = 0
    records: int = 0
    fractional: bool = False
    said: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> StepAxis:
        """The inverse of `state`."""
        return cls(**state)

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {"axis": self.axis, "last": self.last, "records": self.records, "fractional": self.fractional}

    def batch(self, count: int, found: Columns, *, lines: int = 0, errors: Mapping[str, int] | None = None) -> Batch:
        """Place `count` records.

        Args:
            count: Number of records.
            found: Their values. Steps and epochs among them place them; epochs are metrics too, because an axis of steps or
                records does not show them.
            lines: For `Batch.lines`.
            errors: For `Batch.errors`.

        Returns:
            The records that have samples. Metrics are in the order of their names, so that the batch does not depend
            on how the log was cut.
        """
        columns = found.finish()
        step_names = sorted(
            (name for name in columns if role(name) == "step"), key=lambda name: (step_rank(name), name)
        )
        epoch_names = sorted(name for name in columns if role(name) == "epoch")
        metrics = {name: columns[name] for name in sorted(columns.keys() - {*step_names})}
        has_samples = np.zeros(count, np.bool_)
        for name, column in metrics.items():
            if name not in epoch_names:
                has_samples[column.rows] = True
        said = _first_usable(count, [columns[name] for name in step_names], whole=True)
        self.said = ~np.isnan(said)
        steps = self._place(
            said,
            _first_usable(count, [columns[name] for name in epoch_names], whole=False),
            has_samples,
        )
        if not has_samples.all():
            steps, self.said = steps[has_samples], self.said[has_samples]
            new_row = np.cumsum(has_samples) - 1
            metrics = {
                name: Column(new_row[kept.rows], kept.values)
                for name, column in metrics.items()
                if len((kept := _in_rows(column, has_samples)).rows)
            }
        return Batch(steps, metrics, self.axis, lines, {} if errors is None else errors)

    def _place(self, steps: Floats, epochs: Floats, has_samples: Bools) -> Ints:
        """The place of each record. NaN in `steps` and `epochs` (shape (n,) each) means that it has none."""
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
    """Of each record the value in the first of `columns` that can be a place, NaN where there is none. Shape (count,)."""
    places = np.full(count, np.nan)
    for column in reversed(columns):
        values = column.values
        usable = (values >= 0) & (values <= _LARGEST_STEP)  # False for NaN
        if whole:
            usable &= values == np.floor(values)
        places[column.rows[usable]] = values[usable]
    return places
