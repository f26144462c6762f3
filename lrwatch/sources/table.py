"""A whole log as one table, whatever it lies in: lines, records, a document, a database, any of them in gzip."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrwatch.core.names import role
from lrwatch.core.sample import Axis, Batch, Column, Floats, Ints, Smoothing
from lrwatch.errors import InputError
from lrwatch.formats import FORMATS, HEAD_BYTES, Format, by_name, detect
from lrwatch.formats.base import UNNAMED
from lrwatch.formats.lines import MAX_LINE_BYTES
from lrwatch.sources.compressed import Decompressed, open_log
from lrwatch.sources.database import Database, is_database
from lrwatch.sources.document import MAX_DOCUMENT_BYTES
from lrwatch.sources.naming import metric_name
from lrwatch.sources.segments import segments

if TYPE_CHECKING:
    import pandas as pd

# Bytes of one read: more than the longest line, so that each read makes progress.
_READ_BYTES = 4 * MAX_LINE_BYTES
# Rows of a database that are taken at once.
_DATABASE_ROWS = 100_000
# Columns of a table. Real runs log tens of metrics, those that log each parameter's norm some hundreds; a hostile log has
# as many names as lines. Losses, learning rates and epochs are counted apart, so that noise does not push them out.
MAX_COLUMNS = 1000
# Cells of a table, 8 bytes each: many columns of many rows would not fit into memory.
MAX_CELLS = 1 << 27
LEFT_OUT = "metric left out of the table"
"""The reason under which `errors` has the number of metrics beyond MAX_COLUMNS."""
# Characters of a log that an error message shows.
_SHOWN = 80

_KNOWN = frozenset({"train_loss", "val_loss", "lr", "epoch"})


@dataclass(slots=True)
class Reading:
    """What was read of a log.

    Attributes:
        format: Name of its format, or None where the content does not tell.
        batches: The samples, in log order.
        axis: What their steps count.
        lines: Lines or records that were looked at.
        errors: Reason to number of lines.
        smoothing: How the metrics were smoothed that are known not to be raw.
        left_out: How many metrics were too many.
        problem: What is wrong with the file as a whole, or "".
    """

    format: str | None = None
    batches: list[Batch] = field(default_factory=list)
    axis: Axis = "record"
    lines: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    smoothing: dict[str, Smoothing] = field(default_factory=dict)
    left_out: int = 0
    problem: str = ""

    @property
    def rows(self) -> int:
        """Number of records."""
        return sum(batch.rows for batch in self.batches)

    def __len__(self) -> int:
        """Number of samples."""
        return sum(map(len, self.batches))

    def steps(self) -> Ints:
        """Step of each record, shape (rows,)."""
        return np.concatenate([batch.steps for batch in self.batches] or [np.empty(0, np.int64)])

    def columns(self) -> dict[str, Column]:
        """The values of each metric in the whole log, in the order in which the metrics came."""
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
    limit: int | None = None,
) -> Reading:
    """The samples of a log; of one that nothing is understood of, none.

    Args:
        path: The file.
        format: Name of its format; `auto` finds it by the content.
        limit: Stop after about so many bytes of lines. A document and a database are read whole.

    Raises:
        InputError: The file is missing or cannot be read.
        ConfigError: There is no such format.
    """
    reading = Reading()
    reader = None if format == "auto" else by_name(format)
    kept: dict[bool, set[str]] = {True: set(), False: set()}
    left_out: set[str] = set()
    try:
        for name, batch in _batches(Path(path), reader, limit, reading):
            reading.format = name
            reading.axis = batch.axis if batch.rows else reading.axis
            reading.lines += batch.lines
            reading.errors.update(batch.errors)
            reading.smoothing.update(batch.smoothing)
            if batch.rows:
                reading.batches.append(_bounded(batch, kept, left_out))
    except OSError as error:
        raise InputError(
            expected="a log file that can be read",
            found=error.strerror or str(error),
            where=os.fspath(path),
            hint="Give the path of an existing file." if isinstance(error, FileNotFoundError) else "Check the path.",
        ) from None
    reading.left_out = len(left_out)
    _name_after_path(reading, Path(path))
    return reading


def must_be_regular(path: Path) -> None:
    """Raise OSError for what is no file: to open a pipe would be to wait for its writer."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "no regular file")


def _bounded(batch: Batch, kept: dict[bool, set[str]], left_out: set[str]) -> Batch:
    """The batch without the metrics that are too many."""
    for name in batch.columns:
        names = kept[role(name) in _KNOWN]
        if name not in names:
            (names if len(names) < MAX_COLUMNS else left_out).add(name)
    if left_out.isdisjoint(batch.columns):
        return batch
    return replace(batch, columns={name: batch.columns[name] for name in batch.columns if name not in left_out})


def _name_after_path(reading: Reading, path: Path) -> None:
    """Call the metric of a log that does not name it after its path."""
    name = metric_name(path.absolute())
    if name is None or name == UNNAMED or any(name in batch.columns for batch in reading.batches):
        return
    reading.batches = [
        replace(batch, columns={name if n == UNNAMED else n: column for n, column in batch.columns.items()})
        for batch in reading.batches
    ]
    if UNNAMED in reading.smoothing:
        reading.smoothing[name] = reading.smoothing.pop(UNNAMED)


def _batches(path: Path, reader: Format | None, limit: int | None, reading: Reading) -> Iterator[tuple[str, Batch]]:
    """Name of the format and samples of each read; what is wrong with the file itself is told to `reading`."""
    must_be_regular(path)
    with open_log(path) as file:
        head = file.read(HEAD_BYTES)
        if reader is None and is_database(head):
            yield from _rows(path, reading)
            return
        reader = reader or detect(head, final=len(head) < HEAD_BYTES)
        if reader is not None:
            whole = _document(reader, head, file) if reader.whole else _pieces(reader, head, file, limit)
            yield from ((reader.name, batch) for batch in whole)
        reading.errors.update(file.errors)


def _rows(path: Path, reading: Reading) -> Iterator[tuple[str, Batch]]:
    database = Database(path, None)
    before = None
    while (state := database.state()) != before:
        before = state
        batch = database.read(_DATABASE_ROWS)
        yield database.name, batch
    reading.errors.update(database.errors)
    reading.problem = database.problem


def _document(reader: Format, head: bytes, file: Decompressed) -> Iterator[Batch]:
    data = head + file.read(MAX_DOCUMENT_BYTES - len(head))
    yield reader.feed(data, final=True)[0]


def _pieces(reader: Format, rest: bytes, file: Decompressed, limit: int | None) -> Iterator[Batch]:
    left = _READ_BYTES if limit is None else max(0, limit - len(rest))
    while True:
        data = file.read(min(_READ_BYTES, left))
        batch, used = reader.feed(rest + data, final=not data)
        yield batch
        rest = (rest + data)[used:]
        if not data:
            return
        if limit is not None:
            left -= len(data)


def read_log(path: str | os.PathLike[str], format: str = "auto") -> pd.DataFrame:  # noqa: A002 - the contract's name
    """Read a finished log, or what is there of one that grows.

    Args:
        path: The file: text, a document, a database or event file, also in gzip.
        format: Name of its format; `auto` finds it by the content.

    Returns:
        One row a record, in the order of the log: `step`, and one column a metric, NaN where a record does not have it.
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
            found=_seen(reading, Path(path)),
            where=os.fspath(path),
            hint="`lrwatch read --explain FILE` says why nothing in it is understood.",
        )
    return _table(reading)


def _seen(reading: Reading, path: Path) -> str:
    """What lies in a log that is not understood, for people."""
    if reading.problem:
        return reading.problem
    with open_log(path) as file:
        head = file.read(HEAD_BYTES)
    if not head.strip():
        return "an empty file"
    first = next(line for line in head.splitlines() if line.strip())[:_SHOWN].decode("utf-8", "replace")
    counted = "".join(f", {count} x {reason}" for reason, count in reading.errors.most_common(1))
    return f"no metric in it; its first line is {first!r}{counted}"


def _table(reading: Reading) -> pd.DataFrame:
    import pandas as pd

    steps, columns = reading.steps(), reading.columns()
    room = max(1, MAX_CELLS // max(1, len(steps)))
    if len(columns) > room:
        first = sorted(columns, key=lambda name: role(name) not in _KNOWN)[:room]
        reading.left_out += len(columns) - room
        columns = {name: column for name, column in columns.items() if name in set(first)}
    if reading.left_out:
        reading.errors[LEFT_OUT] += reading.left_out
    values = {}
    for name, column in columns.items():
        values[name] = np.full(len(steps), np.nan)
        values[name][column.rows] = column.values
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
