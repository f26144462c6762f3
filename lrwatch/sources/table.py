"""A whole log as one table: a loop over `LogReader`."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrwatch.core.names import role
from lrwatch.core.sample import Axis, Batch, Column, Floats, Ints, Smoothing
from lrwatch.errors import InputError
from lrwatch.formats import FORMATS, HEAD_BYTES
from lrwatch.sources.metric_names import ESSENTIAL
from lrwatch.sources.reader import CHUNK_BYTES, LogReader, beginning, must_be_readable
from lrwatch.sources.segments import segments

if TYPE_CHECKING:
    import pandas as pd

# Cells of a table, 8 bytes each: many columns of many rows would not fit into memory. A log in which almost every cell is
# empty, because each line has a name of its own, has fewer of them.
MAX_CELLS = 1 << 27
LEAST_CELLS = 1 << 23
CELLS_PER_SAMPLE = 16
SPARSE = "metric left out: the table would be almost empty"
"""The reason under which `errors` has the number of metrics that have no column."""
# Characters of a log that an error message shows.
_SHOWN = 80


@dataclass(slots=True)
class Reading:
    """The samples of a log.

    Attributes:
        format: Name of its format, or None where the content does not tell.
        batches: The samples, in log order.
        axis: What their steps count.
        lines: Lines, records or rows that were read.
        errors: Reason to number of lines.
        smoothing: Smoothing of the metrics that are known not to be raw.
        total_steps: Length of the run that the log states; see `Batch.total_steps`.
        problem: What is wrong with the file as a whole, or "".
    """

    format: str | None = None
    batches: list[Batch] = field(default_factory=list)
    axis: Axis = "record"
    lines: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    smoothing: dict[str, Smoothing] = field(default_factory=dict)
    total_steps: int = 0
    problem: str = ""

    @property
    def rows(self) -> int:
        """Number of records."""
        return sum(batch.rows for batch in self.batches)

    def __len__(self) -> int:
        """Return the number of samples."""
        return sum(map(len, self.batches))

    def steps(self) -> Ints:
        """Return the step of each record, shape (rows,)."""
        return np.concatenate([batch.steps for batch in self.batches] or [np.empty(0, np.int64)])

    def columns(self) -> dict[str, Column]:
        """Return the values of each metric in the whole log, in the order in which the metrics came."""
        parts: dict[str, list[tuple[Ints, Floats]]] = {}
        start = 0
        for batch in self.batches:
            for name, column in batch.columns.items():
                parts.setdefault(name, []).append((start + column.rows, column.values))
            start += batch.rows
        return {
            name: Column(np.concatenate([rows for rows, _ in found]), np.concatenate([v for _, v in found]))
            for name, found in parts.items()
        }


def read(
    path: str | os.PathLike[str],
    format: str = "auto",  # noqa: A002 - the contract's name
    *,
    only_beginning: bool = False,
) -> Reading:
    """Read the samples of a finished log; there are none where its format is not known.

    Args:
        path: The file.
        format: Name of its format; `auto` finds it by the content.
        only_beginning: Stop after about HEAD_BYTES of lines or records. A document and a database are read whole.

    Returns:
        The samples, with what is known of the log.

    Raises:
        InputError: The file is missing or cannot be read.
        ConfigError: There is no such format.
    """
    reader = LogReader(Path(path), format)
    must_be_readable(path)
    reading = Reading()
    limit, size = (HEAD_BYTES + 1 if only_beginning else CHUNK_BYTES), 0
    while (size < limit or not only_beginning) and (given := reader.read(final=True, limit=limit)) is not None:
        batch, used = given
        size += used
        reading.axis = batch.axis if batch.rows else reading.axis
        reading.lines += batch.lines
        reading.total_steps = batch.total_steps
        reading.errors.update(batch.errors)
        reading.smoothing.update(batch.smoothing)
        if batch.rows:
            reading.batches.append(batch)
    reader.close()
    reading.format, reading.problem = reader.format, reader.tail.problem
    reading.errors.update(reader.tail.errors)
    return reading


def read_log(path: str | os.PathLike[str], format: str = "auto") -> pd.DataFrame:  # noqa: A002 - the contract's name
    """Read a finished log, or the present content of one that grows.

    Args:
        path: The file: text, a document, a database or event file, also in gzip.
        format: Name of its format; `auto` finds it by the content.

    Returns:
        One row a record, in the order of the log: `step`, and one column a metric, NaN where a record does not have it. A
        metric that was itself NaN at times is a masked column (`Float64`): NaN where it was NaN, NA where a record has none.
        `attrs` has `axis` (what `step` counts: `step`, `epoch` or `record`), `format`, `lines`, `errors` (reason to
        number of lines that could not be used), `smoothing` (metric to `window` or `running`, where its trainer did not
        write it as it was), and `segments` (the rows at which another run or a resume begins; the first is 0).

    Raises:
        InputError: The file is missing, cannot be read, or nothing in it is understood.
        ConfigError: There is no such format.
    """
    reading = read(path, format)
    if not len(reading):
        raise InputError(
            expected=f"a log in one of the formats {', '.join(f.name for f in FORMATS)}",
            found=_content(reading, Path(path)),
            where=os.fspath(path),
            hint="`lrwatch read --explain FILE` says why nothing in it is understood; `--teach` learns from one of its lines.",
        )
    return _table(reading)


def _content(reading: Reading, path: Path) -> str:
    """Return the content of a log without samples, in words."""
    if reading.problem:
        return reading.problem
    head = beginning(path)
    if not head.strip():
        return "an empty file"
    line = next(line for line in head.splitlines() if line.strip())[:_SHOWN]
    if b"\0" in line:
        return "no metric in it; it begins with bytes that are no text"
    first = line.decode("utf-8", "replace")
    counted = "".join(f", {count} x {reason}" for reason, count in reading.errors.most_common(1))
    return f"no metric in it; its first line is {first!r}{counted}"


def _table(reading: Reading) -> pd.DataFrame:
    import pandas as pd

    steps, columns = reading.steps(), reading.columns()
    cells = min(MAX_CELLS, max(LEAST_CELLS, CELLS_PER_SAMPLE * len(reading)))
    room = max(1, cells // max(1, len(steps)))
    if len(columns) > room:
        reading.errors[SPARSE] += len(columns) - room
        fullest = sorted(columns, key=lambda name: (role(name) not in ESSENTIAL, -len(columns[name].rows)))
        chosen = set(fullest[:room])
        columns = {name: column for name, column in columns.items() if name in chosen}
    values: dict[str, Any] = {}
    for name, column in columns.items():
        values[name] = np.full(len(steps), np.nan)
        values[name][column.rows] = column.values
        if np.isnan(column.values).any():
            # A loss that was NaN is a value; only in a masked column does it differ from a row that has none.
            absent = np.ones(len(steps), np.bool_)
            absent[column.rows] = False
            values[name] = pd.arrays.FloatingArray(values[name], absent)
    table: pd.DataFrame = pd.DataFrame({"step": steps, **values}, copy=False)
    table.attrs.update(
        axis=reading.axis,
        format=reading.format,
        lines=reading.lines,
        errors=dict(reading.errors),
        smoothing={name: how for name, how in reading.smoothing.items() if name in columns and how != "raw"},
        segments=segments(steps, {name: column.rows for name, column in columns.items()}),
    )
    return table
