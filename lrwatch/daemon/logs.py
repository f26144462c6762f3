"""The logs of one run: one reader each, one owner of each metric, and counters of what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Axis, Batch
from lrwatch.sources.discover import log_of
from lrwatch.sources.reader import LogReader
from lrwatch.store import Store

# Reads of one log before the other logs have their turn and a stop is looked for.
READS_A_TURN = 4


class RunLogs(Checkpointed):
    """The logs of one run.

    Args:
        run: The run's name in the store.
        format_name: "auto", or the name of the logs' format.
        store: Holds the state of each log.

    Attributes:
        readers: A reader for each log, in the order in which they are read.
        axis: What the newest samples are counted in.
        behind: Whether the last `read` ended before all was read.
        changed: Whether the last `read` gave anything, errors included.
        pressing: Whether the state should be saved soon, because the logs may not be read again in the same way.
        ingest: Counter of `bytes`, `lines`, `samples` and `in_another_log`.
        errors: Counter of ingest errors, by reason; saves that failed are among them.
        written_at: When the samples of the batch that `read` gave last were written, in seconds since the epoch. None for those that
            came while the log was watched, which are new.
    """

    SAVED = ("ingest", "errors", "axis", "_owners", "_lengths")

    def __init__(self, run: str, format_name: str, store: Store) -> None:
        self._run = run
        self._format_name = format_name
        self._store = store
        self.readers: list[LogReader] = []
        self.axis: Axis = "step"
        self.behind = self.changed = self.pressing = False
        self.ingest: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._owners: dict[str, str] = {}
        self._lengths: dict[str, list[Any]] = {}  # of each log that states one: its axis, and the length
        self.written_at: float | None = None
        self._live: set[Path] = set()  # the logs that were read to their end once
        self._restarts = 0
        self._counted: dict[Path, Counter[str]] = {}  # of each log, the errors of its source that were looked at
        self._problems: dict[Path, str] = {}  # of each log, its problem at the last read

    def add(self, path: Path) -> None:
        """Read one more log, unless it is read already."""
        if all(reader.path != path for reader in self.readers):
            state = self._store.load_log(self._run, str(path))
            self.readers.append(LogReader(path, self._format_name, state))

    def read(self, *, final: bool) -> Iterator[Batch]:
        """Read each log in turn, each no more than READS_A_TURN times.

        Args:
            final: The logs are complete.

        Yields:
            The samples of one read that this run takes from that log; a batch without rows if there are none.
        """
        self.behind = self.changed = False
        unfinished: set[str] = set()
        for reader in self.readers:
            log = log_of(reader.path)
            if log in unfinished:  # this file continues it
                continue
            for _ in range(READS_A_TURN):
                if (batch := self._read(reader, log, final=final)) is None:
                    break
                yield batch
                if not reader.tail.lag:
                    break
            else:
                self.behind = True
                unfinished.add(log)
        restarts = sum(reader.tail.rotations + reader.tail.truncations for reader in self.readers)
        if restarts != self._restarts:  # what was there before cannot be read again
            self._restarts, self.pressing = restarts, True

    def _read(self, reader: LogReader, log: str, *, final: bool) -> Batch | None:
        read = reader.read(final=final)
        errors = reader.tail.errors
        if errors and errors != (counted := self._counted.get(reader.path, Counter())):
            if not reader.tail.problem or reader.tail.problem != self._problems.get(reader.path):
                self.errors += errors - counted  # a fault that stays is counted once, however often it is met
                self.changed = True
            self._counted[reader.path] = errors.copy()
        self._problems[reader.path] = reader.tail.problem
        if read is None:
            return None
        self.changed = True
        self.written_at = None if reader.path in self._live else _written_at(reader.path)
        if not reader.tail.lag:
            self._live.add(reader.path)
        batch, used = read
        ingest = self.ingest
        ingest["bytes"] += used
        ingest["lines"] += batch.lines
        ingest["samples"] += len(batch)
        if batch.errors:
            self.errors.update(batch.errors)
        self._note_length(batch, log)
        batch = self._owned(batch, log)
        if batch.rows:
            self.axis = batch.axis
        return batch

    def _owned(self, batch: Batch, log: str) -> Batch:
        """Return the part of a batch whose metrics `log` owns: two logs of a run must not count its loss twice.

        The first log that has a metric owns it. All event files of a directory are one log, because a resumed training
        begins another file.
        """
        columns = {}
        before = len(self._owners)
        for name, column in batch.columns.items():
            if self._owners.setdefault(name, log) == log:
                columns[name] = column
            else:
                self.ingest["in_another_log"] += len(column.values)  # as it should be, and no error
        self.pressing |= len(self._owners) > before  # read again, the logs may come in another order
        return batch if len(columns) == len(batch.columns) else replace(batch, columns=columns)

    def _note_length(self, batch: Batch, log: str) -> None:
        """Take note of the length that a log states, or that it states none any more."""
        if batch.total_steps:
            self._lengths[log] = [batch.axis, batch.total_steps]
        elif log in self._lengths:
            del self._lengths[log]

    @property
    def total_steps(self) -> int:
        """The length of the run that its logs state, in units of `axis`; 0 where they state none, or do not agree."""
        stated = {total for axis, total in self._lengths.values() if axis == self.axis}
        return stated.pop() if len(stated) == 1 else 0

    @property
    def lag(self) -> int:
        """Bytes in the logs that were not read yet."""
        return sum(reader.tail.lag for reader in self.readers)

    @property
    def problem(self) -> str:
        """The problem of the first log if all logs have one, else ""."""
        problems = [reader.tail.problem for reader in self.readers if reader.tail.problem]
        return problems[0] if problems and len(problems) == len(self.readers) else ""

    def save(self) -> None:
        """Put the state of each log into the open transaction of the store."""
        for reader in self.readers:
            self._store.save_log(self._run, str(reader.path), reader.state())

    def close(self) -> None:
        """Close the logs."""
        for reader in self.readers:
            reader.close()


def _written_at(path: Path) -> float | None:
    """Return when a log was written to last, in seconds since the epoch; None where nobody can tell."""
    try:
        return path.stat().st_mtime
    except OSError:  # standard input, or it was renamed meanwhile
        return None
