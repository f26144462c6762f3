"""Follow the database of an experiment tracker while it is written: MLflow's and Trackio's SQLite stores.

Rows are read in the order in which they were written, from the first unread one on. The writer must not notice:

==============================  =======================================================================================
state of the database           how it is opened, for one short read each time
==============================  =======================================================================================
a rollback journal (MLflow)     read-only; a reader delays the writer for the milliseconds of a read, less than the
                                seconds for which it waits
a write-ahead log (Trackio)     read-only, with its shared memory read-only too; the writer never waits
the same, and nobody writes     as immutable: else SQLite would create the two files that its writer has deleted
==============================  =======================================================================================

A database holds many runs. The first one keeps the names of its metrics, so that a database of one run reads like any other
log; those of later ones begin with the name of the run (``tidy-fox/loss``). The order of the rows decides, so a run that appears
renames nothing, and a database that is followed gives the same names as a finished one.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from lrwatch.core.sample import Batch
from lrwatch.formats.columns import Columns
from lrwatch.formats.json.lines import collect
from lrwatch.sources.sqlite_schemas import MLFLOW, SCHEMAS, TRACKIO, Record, Schema, row_hash, values_of

_MAGIC = b"SQLite format 3\0"
# Byte 18 of the file: the version that a writer needs, 2 with a write-ahead log.
_WRITE_VERSION_AT = 18
_WRITE_AHEAD = 2

# Rows of one read: about 50 ms, for which a writer with a rollback journal may have to wait.
READ_ROWS = 20_000
# Characters of JSON of one read, so that memory stays bounded.
_MAX_READ_TEXT = 16 << 20
# For a lock. There is another read soon, and the daemon has other logs to read.
_WAIT_SECONDS = 0.05
# Runs whose names are kept. No more than that write at the same time.
_MAX_RUNS = 256
_LARGEST_STEP = 2**53
# Characters of the id of a run that tell it from others of its name.
_SHORT_ID = 8

_BUSY = "database busy"
_DELETED = "rows were deleted"
_NO_STEP = "step is not a step"


def is_database(head: bytes) -> bool:
    """Whether a file that begins with `head` is an SQLite database."""
    return head.startswith(_MAGIC)


@dataclass(slots=True)
class _Progress:
    """Read position: the state that survives a restart.

    Attributes:
        tracker: Its name, "" while it is not known.
        inode: Device and inode of the file.
        last: Row number of the last row read.
        row_hash: Hash of that row.
        first_run: Id of the first run.
        runs: Id of the other runs to their names, those that wrote last at the end.
        step: The last usable step.
    """

    tracker: str = ""
    inode: list[int] = field(default_factory=list)
    last: int = 0
    row_hash: str = ""
    first_run: str | None = None
    runs: dict[str, str] = field(default_factory=dict)
    step: int = 0


class Database:
    """Follow the database at `path`. Nothing that happens to it is an exception.

    Args:
        path: The file; it need not exist yet.
        state: What `state` returned before a restart.

    Attributes:
        rotations, truncations: How often another database took its name; how often it was seen to have lost rows.
        errors: Number of survived errors, by reason.
        problem: Why nothing can be read at present, a sentence; "" when all is well.
        lag: Unread rows at the last read.
    """

    def __init__(self, path: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.rotations = self.truncations = self.lag = 0
        self.errors: Counter[str] = Counter()
        self.problem = ""
        self._progress = _Progress(**state) if state else _Progress()
        self._progress.runs = dict(self._progress.runs)

    @property
    def name(self) -> str:
        """The tracker whose database it is: `mlflow` or `trackio`; `database` while that is not known."""
        return self._progress.tracker or "database"

    def state(self) -> dict[str, Any]:
        """Return the JSON-plain state to continue behind the last row read after a restart."""
        return asdict(self._progress)

    def close(self) -> None:
        """Do nothing: no connection stays open between two reads, because it would keep the writer from tidying up."""

    def read(self, limit_rows: int = READ_ROWS) -> Batch:
        """Read the samples in the next rows, at most `limit_rows`, in the order of writing. Never raises: see `problem`."""
        try:
            rows = self._read(limit_rows)
        except OSError as error:
            self._fail(error)
            return _EMPTY
        except sqlite3.Error as error:
            self._fail_in_sqlite(error)
            return _EMPTY
        return self._batch(rows)

    # ---- the file -------------------------------------------------------------------------------------------------

    def _read(self, limit: int) -> list[Record]:
        about = self.path.stat()
        if not stat.S_ISREG(about.st_mode):
            self.problem = f"{self.path} is not a regular file; a database was expected"
            return []
        with self.path.open("rb") as file:
            head = file.read(_WRITE_VERSION_AT + 1)
        if not is_database(head):
            self.problem = (
                f"{self.path} is not an SQLite database" if head else f"{self.path} is empty; it is tried again"
            )
            return []
        log = Path(f"{self.path}-wal")
        ahead = head[-1] == _WRITE_AHEAD
        unused = ahead and not log.exists()
        how = "immutable=1" if unused else "mode=ro&readonly_shm=1" if ahead else "mode=ro"
        before = replace(self._progress)
        with closing(
            sqlite3.connect(f"file:{quote(os.fspath(self.path))}?{how}", timeout=_WAIT_SECONDS, uri=True)
        ) as opened:
            opened.text_factory = lambda text: text.decode("utf-8", "replace")
            rows = self._select(opened, [about.st_dev, about.st_ino], limit)
        if unused and log.exists():  # somebody began to write meanwhile, so it was not immutable
            self._progress = before
            self.errors[_BUSY] += 1
            return []
        return rows

    def _select(self, opened: sqlite3.Connection, inode: list[int], limit: int) -> list[Record]:
        """Select the next rows and move the progress behind them."""
        columns = {row[1] for row in opened.execute("PRAGMA table_info(metrics)")}
        schema = next((schema for schema in SCHEMAS if schema.columns <= columns), None)
        if schema is None:
            self._report_tables(opened, columns)
            return []
        self.problem = ""
        newest = opened.execute("SELECT max(rowid) FROM metrics").fetchone()[0] or 0
        self._check_last_row(opened, schema, inode, newest)
        progress = self._progress
        progress.tracker, progress.inode = schema.name, inode
        rows: list[Record] = []
        size = 0
        if newest > progress.last:
            found = opened.execute(f"{schema.query} WHERE m.rowid > ? ORDER BY m.rowid LIMIT ?", (progress.last, limit))
            for row in found:
                rows.append(row)
                size += len(row[5]) if isinstance(row[5], (str, bytes)) else 0
                if size > _MAX_READ_TEXT:
                    break
        if rows:
            progress.last, progress.row_hash = rows[-1][0], row_hash(rows[-1])
        self.lag = max(0, newest - progress.last)
        return rows

    def _check_last_row(self, opened: sqlite3.Connection, schema: Schema, inode: list[int], newest: int) -> None:
        """Check that the last row read is still there, and if not, find where to continue."""
        progress = self._progress
        if not progress.last:
            return
        row = opened.execute(f"{schema.query} WHERE m.rowid = ?", (progress.last,)).fetchone()
        if row is not None and row_hash(row) == progress.row_hash:
            return
        if row is not None or inode != progress.inode:
            self.rotations += 1
            self._progress = _Progress()
            return
        self.truncations += 1
        self.errors[_DELETED] += 1
        row = opened.execute(
            f"{schema.query} WHERE m.rowid <= ? ORDER BY m.rowid DESC LIMIT 1", (min(newest, progress.last),)
        ).fetchone()
        progress.last, progress.row_hash = (0, "") if row is None else (row[0], row_hash(row))

    def _report_tables(self, opened: sqlite3.Connection, columns: set[str]) -> None:
        tables = sorted(row[0] for row in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        found = (
            f"a table metrics with {', '.join(sorted(columns))}"
            if columns
            else f"the tables {', '.join(tables) or 'none'}"
        )
        self.problem = (
            f"{self.path}: expected MLflow's table metrics ({', '.join(sorted(MLFLOW.columns))}) or Trackio's"
            f" ({', '.join(sorted(TRACKIO.columns))}), found {found}. Give the database of one of these."
        )

    def _fail(self, error: OSError) -> None:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            self.problem = f"{self.path} does not exist yet; it is read as soon as it is there"
            return
        self.errors[error.strerror or type(error).__name__] += 1
        self.problem = f"{self.path} cannot be read ({error.strerror or error}); it is tried again"

    def _fail_in_sqlite(self, error: sqlite3.Error) -> None:
        text = str(error)
        if "locked" in text:
            self.errors[_BUSY] += 1
            return
        self.errors[text] += 1
        self.problem = f"{self.path} cannot be read ({text}); it is tried again"
        if "unable to open" in text and not Path(f"{self.path}-shm").exists():
            self.problem = (
                f"{self.path}: its last rows lie in {self.path.name}-wal, which cannot be read without"
                f" {self.path.name}-shm; open it once with the program that wrote it"
            )

    # ---- rows into samples ----------------------------------------------------------------------------------------

    def _batch(self, rows: list[Record]) -> Batch:
        errors: Counter[str] = Counter()
        found = Columns()
        steps: list[int] = []
        records: list[dict[str, Any]] = []
        owner: Any = None
        for _, run, run_name, step, metric, value in rows:
            prefix = self._prefix(str(run), str(run_name or run))
            step = self._step(step, errors)
            values = {f"{prefix}{name}": number for name, number in values_of(metric, value, errors).items()}
            # MLflow has a row for each metric of a record.
            if records and metric and owner == (run, step) and records[-1].keys().isdisjoint(values):
                records[-1].update(values)
            elif values:
                records.append(values)
                steps.append(step)
                owner = (run, step) if metric else None
        if records:
            collect(found, "", records, np.arange(len(records)))
        columns = found.finish()
        return Batch(
            np.array(steps, np.int64), {name: columns[name] for name in sorted(columns)}, "step", len(rows), errors
        )

    def _prefix(self, run: str, name: str) -> str:
        """Return the prefix of the names of a run's metrics."""
        progress = self._progress
        if progress.first_run is None:
            progress.first_run = run
        if run == progress.first_run:
            return ""
        unique = progress.runs.pop(run, None)
        if unique is None:
            unique = f"{name}-{run[:_SHORT_ID]}" if name in progress.runs.values() else name
            if len(progress.runs) >= _MAX_RUNS:
                del progress.runs[next(iter(progress.runs))]
        progress.runs[run] = unique
        return f"{unique}/"

    def _step(self, step: Any, errors: Counter[str]) -> int:
        """Return a usable step; the last one where `step` is none."""
        if isinstance(step, int) and 0 <= step <= _LARGEST_STEP:
            self._progress.step = step
        else:
            errors[_NO_STEP] += 1
        return self._progress.step


_EMPTY = Batch(np.empty(0, np.int64), {})
