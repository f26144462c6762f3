"""The logs of one run: read in turn, merged by their steps, and each value counted once.

Which log a value is taken from is decided in `lrwatch.sources.ownership`. This file reads, keeps the rows that wait, and
gives those that need not in one order: a row of a worse log comes when the better ones have passed its step. A log whose
rows wait is not read further, and its saved state is the one before them, so that they are read again after a restart.

One file because reading and merging share the rows that wait.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Axis, Batch
from lrwatch.sources.log_identity import (
    is_client_log,
    is_in_parts,
    is_written_from_the_start,
    log_of,
    seconds_since_written,
)
from lrwatch.sources.merging import first_useful, placed, up_to
from lrwatch.sources.ownership import Ownership
from lrwatch.sources.reader import LogReader
from lrwatch.sources.source import PATIENCE, Rank, rank_of
from lrwatch.sources.tail import Tail
from lrwatch.store import Store

# Reads of one log before the other logs have their turn and a stop is looked for.
READS_A_TURN = 4
# Seconds after which no further read begins: a log that is made to be slow delays the other runs by one read only.
READ_SECONDS = 0.5


@dataclass(slots=True)
class _Waiting:
    """Rows of one read, of which those before `taken` were heard.

    Attributes:
        batch: All rows of the read.
        used: Bytes that they took.
        before: State of the reader before that read, to be saved while they wait; None in a run with one log.
        taken: How many of the first rows were heard.
        anchor: Where and up to which step rows without steps were given those of another log: see `RunLogs._place`.
        written_at: When they were written, as `RunLogs.written_at` has it.
    """

    batch: Batch
    used: int
    before: dict[str, Any] | None
    taken: int = 0
    anchor: list[float] | None = None
    written_at: float | None = None

    @property
    def rest(self) -> Batch:
        """Rows that were not heard yet."""
        return self.batch.part(self.taken, self.batch.rows)


@dataclass(slots=True)
class _Log:
    """One file of a run.

    Attributes:
        reader: Reads it.
        source: Name of its source.
        waiting: What was read and not heard yet.
        is_client: Whether lrwatch's client writes it.
        is_unread: Whether the last look found something in it, so that there may be more.
        again: Rows that were heard before a restart, and are read again.
    """

    reader: LogReader
    source: str
    is_client: bool
    waiting: _Waiting | None = None
    is_unread: bool = True
    again: int = 0


class RunLogs(Checkpointed):
    """The logs of one run.

    Args:
        run: The run's name in the store.
        format_name: "auto", or the name of the logs' format.
        store: Holds the state of each log.
        client_log: Where the client of the run writes its metrics, if it does; it is looked for at each read.
        metric: The metric that the user named, or None.

    Attributes:
        axis: What the newest samples are counted in.
        ownership: Which log each metric is taken from.
        behind: Whether the last `read` ended before all was read.
        changed: Whether the last `read` gave anything, errors included.
        alive: Whether the last `read` gave a sign of life: copies are none.
        anew: Whether the run starts over with the batch that was given last: it is on another axis than those before.
        pressing: Whether the state should be saved soon, because the logs may not be read again in the same way.
        ingest: Counter of `bytes`, `lines`, `samples` and `in_another_log`.
        errors: Counter of ingest errors, by reason; saves that failed are among them.
        written_at: When the samples of the batch that `read` gave last were written, in seconds since the epoch. None for those that
            came while the log was watched, which are new.
    """

    SAVED = ("ingest", "errors", "axis", "_lengths", "_anchors")

    def __init__(
        self, run: str, format_name: str, store: Store, *, client_log: Path | None = None, metric: str | None = None
    ) -> None:
        self._run = run
        self._format_name = format_name
        self._store = store
        self._client_log = client_log
        self._logs: list[_Log] = []
        self.axis: Axis = "step"
        self.behind = self.changed = self.alive = self.anew = self.pressing = False
        self.ingest: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.written_at: float | None = None
        self.ownership = Ownership(metric)
        self._lengths: dict[str, list[Any]] = {}  # of each source that states one: its axis, and the length
        # Of each log without steps: an offset in bytes, and the step of the other logs when it was read up to there.
        self._anchors: dict[str, list[float]] = {}
        self._met = 0  # how many of the logs are known to `ownership`
        self._restarts = 0
        self._live: set[Path] = set()  # the logs that were read to their end once
        self._counted: dict[Path, Counter[str]] = {}  # of each log, the errors of its source that were looked at
        self._problems: dict[Path, str] = {}  # of each log, its problem at the last read
        self._now = 0.0

    @property
    def readers(self) -> list[LogReader]:
        """A reader for each log, in the order in which they were added."""
        return [log.reader for log in self._logs]

    @property
    def has_client_log(self) -> bool:
        """Whether the metrics that the run's client writes are among the logs."""
        return any(log.is_client for log in self._logs)

    def add(self, path: Path) -> None:
        """Read one more log, unless it is read already."""
        if all(log.reader.path != path for log in self._logs):
            state = self._store.load_log(self._run, str(path))
            self._logs.append(_Log(LogReader(path, self._format_name, state), log_of(path), is_client_log(path)))

    # ---- reading --------------------------------------------------------------------------------------------------

    def read(self, *, final: bool, now: float = 0.0) -> Iterator[Batch]:
        """Read each log in turn, each no more than READS_A_TURN times.

        Args:
            final: The logs are complete.
            now: Seconds since the epoch.

        Yields:
            Samples that count, in the order in which they are to be judged; a batch without rows for what was read and
            gave none.
        """
        self.behind = self.changed = self.alive = False
        self._now = now
        self._meet()
        ends = time.perf_counter() + READ_SECONDS
        for _ in range(READS_A_TURN):
            found = [log for log in self._logs if self._fetch(log, final=final)]
            for log in found:
                assert log.waiting is not None
                if not log.waiting.batch.rows:
                    yield self._without_rows(log, log.waiting)
            yield from self._merged(final=final)
            if not found or (len(self._logs) == 1 and not found[0].reader.tail.lag):
                break
            if time.perf_counter() > ends:
                self.behind = True
                break
        else:
            self.behind = True
        restarts = sum(log.reader.tail.rotations + log.reader.tail.truncations for log in self._logs)
        if restarts != self._restarts:  # what was there before cannot be read again
            self._restarts, self.pressing = restarts, True

    def _meet(self) -> None:
        """Take in new logs, and what changed about old ones."""
        if self._client_log is not None and os.path.isfile(self._client_log):  # noqa: PTH113 - no error where it may not be read
            self.add(self._client_log)
            self._client_log = None
        for log in self._logs[self._met :]:
            path = log.reader.path
            self.ownership.add(
                log.source,
                self._now,
                rank=Rank.CLIENT if log.is_client else None,
                awaited=log.is_client or is_written_from_the_start(path),
                old=self._is_old(path),
            )
        self._met = len(self._logs)
        for name in self.ownership.old if len(self._logs) > 1 else ():
            if not all(self._is_old(log.reader.path) for log in self._logs if log.source == name):
                self.ownership.renewed(name)

    def _is_old(self, path: Path) -> bool:
        return seconds_since_written(path, self._now) > PATIENCE

    def _fetch(self, log: _Log, *, final: bool) -> bool:
        """Read a log once, unless its rows wait or it continues another that is not at its end. Return whether it gave anything."""
        if log.waiting is not None or (is_in_parts(log.reader.path) and self._has_earlier_part(log)):
            return False
        state = log.reader.state() if len(self._logs) > 1 else None
        read = log.reader.read(final=final)
        log.is_unread = read is not None
        self._count_errors(log.reader)
        if read is None:
            return False
        self.changed = True
        path = log.reader.path
        log.waiting = _Waiting(*read, state, written_at=None if path in self._live else _written_at(path))
        if not log.reader.tail.lag:
            self._live.add(path)
        if batch_rows := read[0].rows:
            log.waiting.taken = min(log.again, batch_rows)
            log.again -= log.waiting.taken
            rank = rank_of(read[0].axis, log.reader.format, client=log.is_client)
            self.ownership.arrived(log.source, rank, read[0].axis, self._now)
        return True

    def _has_earlier_part(self, log: _Log) -> bool:
        """Whether an earlier part of the same source was not heard to its end."""
        return any(
            before.source == log.source
            and (before.waiting is not None or (before.is_unread and before.reader.tail.lag))
            for before in self._logs[: self._logs.index(log)]
        )

    def _count_errors(self, reader: LogReader) -> None:
        errors = reader.tail.errors
        if errors and errors != (counted := self._counted.get(reader.path, Counter())):
            if not reader.tail.problem or reader.tail.problem != self._problems.get(reader.path):
                self.errors += errors - counted  # a fault that stays is counted once, however often it is met
                self.changed = True
            self._counted[reader.path] = errors.copy()
        self._problems[reader.path] = reader.tail.problem

    def _without_rows(self, log: _Log, waiting: _Waiting) -> Batch:
        """Finish a read that gave no rows."""
        owners = self.ownership.owners
        self.alive |= not owners or log.source in owners.values()
        self.anew = False
        self.written_at = waiting.written_at
        self._note_length(waiting.batch, log.source)
        self._finish(log, waiting)
        return waiting.batch

    def _finish(self, log: _Log, waiting: _Waiting) -> None:
        """Count a read all of whose rows were heard."""
        batch, ingest = waiting.batch, self.ingest
        ingest["bytes"] += waiting.used
        ingest["lines"] += batch.lines
        ingest["samples"] += len(batch)
        if batch.errors:
            self.errors.update(batch.errors)
        if waiting.anchor:
            self._anchors[str(log.reader.path)] = waiting.anchor
        log.waiting = None

    # ---- merging --------------------------------------------------------------------------------------------------

    def _merged(self, *, final: bool) -> Iterator[Batch]:
        """Yield what counts of the rows that need not wait."""
        while (chosen := self._next(final=final)) is not None:
            yield self._hear(*chosen)

    def _next(self, *, final: bool) -> tuple[_Log, Batch, int] | None:
        """Return the log that is to be heard next, its rows, and how many of them; None where all rows wait.

        Worse logs come first: what is free of theirs, the better ones have passed. A better one is heard up to the next row
        of a worse one that may count, so that the order does not depend on how much was read at once.
        """
        pending = [log for log in self._logs if log.waiting]
        if not pending:
            return None
        order = {name: i for i, name in enumerate(self.ownership.order())}
        pending.sort(key=lambda log: order[log.source], reverse=True)
        heads: list[int] = []
        for log in pending:
            assert log.waiting is not None
            self._place(log, log.waiting)
            rest = log.waiting.rest
            if not rest.rows:
                return log, rest, 0
            free = rest.rows
            if len(order) > 1:
                free = self.ownership.free(log.source, rest, self._now, self._unread(), final=final)
            for head in heads:
                if free and head >= rest.steps[0]:
                    free = min(free, up_to(rest.steps, head))
            if free:
                return log, rest, free
            may_count = partial(self.ownership.may_count, log.source)
            useful = first_useful(log.waiting.batch, log.waiting.taken, may_count)
            if useful is not None and (rest.axis == self.ownership.axis or self.ownership.axis is None):
                heads.append(useful)
        return None

    def _unread(self) -> Mapping[str, int | None]:
        """Return the sources that are not at their end, with the step of their next row where it is known."""
        unread: dict[str, int | None] = {}
        for log in self._logs:
            if log.waiting is not None and log.waiting.taken < log.waiting.batch.rows:
                unread.setdefault(log.source, int(log.waiting.batch.steps[log.waiting.taken]))
            elif log.is_unread:
                unread.setdefault(log.source, None)
        return unread

    def _place(self, log: _Log, waiting: _Waiting) -> None:
        """Give rows without steps the steps of the best log, as far as it was read when they came."""
        if waiting.anchor or waiting.batch.axis == "step" or not self.ownership.has_steps_beside(log.source):
            return
        better = set(self.ownership.better(log.source))
        if better & self._unread().keys() or (reach := self.ownership.reach()) is None:
            return
        tail = log.reader.tail
        offset = float(getattr(tail, "offset", 0))
        since, step = self._anchors.get(str(log.reader.path), (0.0, 0.0))
        share = (offset - since) / (offset + tail.lag - since) if offset + tail.lag > since else 1.0
        end = step + max(0.0, reach - step) * share
        waiting.batch, waiting.anchor = placed(waiting.batch, step, end), [offset, end]
        self.pressing = True  # read again later, they would be placed otherwise

    def _hear(self, log: _Log, rest: Batch, rows: int) -> Batch:
        """Take the first rows of a log. Return what counts of them."""
        waiting = log.waiting
        assert waiting is not None
        part = rest.part(0, rows)
        self._note_length(waiting.batch, log.source)
        changes = self.ownership.changes
        heard = self.ownership.hear(log.source, part, self._unread())
        self.pressing |= self.ownership.changes != changes
        waiting.taken += rows
        self.written_at = waiting.written_at
        self.ingest["in_another_log"] += heard.copies  # as it should be, and no error
        self.anew = heard.anew
        if waiting.taken == waiting.batch.rows:
            self._finish(log, waiting)
        if not len(heard.batch) and rows:
            return replace(part.part(0, 0), columns={}, lines=0, errors={})
        self.alive = True
        if heard.batch.rows:
            self.axis = heard.batch.axis
        return heard.batch

    # ---- what is known --------------------------------------------------------------------------------------------

    def _note_length(self, batch: Batch, source: str) -> None:
        """Take note of the length that a source states, or that it states none any more."""
        if batch.total_steps:
            self._lengths[source] = [batch.axis, batch.total_steps]
        elif source in self._lengths:
            del self._lengths[source]

    @property
    def total_steps(self) -> int:
        """The length of the run that its logs state, in units of `axis`; 0 where they state none, or do not agree.

        Where there is a training loss, the log that it is taken from is asked alone.
        """
        owner = self.ownership.owners.get("train_loss")
        stated = {
            total for source, (axis, total) in self._lengths.items() if axis == self.axis and owner in (None, source)
        }
        return stated.pop() if len(stated) == 1 else 0

    @property
    def lag(self) -> int:
        """Bytes in the logs that were not heard yet."""
        waiting = sum(log.waiting.used for log in self._logs if log.waiting is not None)
        return waiting + sum(log.reader.tail.lag for log in self._logs)

    @property
    def problem(self) -> str:
        """The problem of the first log if all logs have one, else ""."""
        problems = [reader.tail.problem for reader in self.readers if reader.tail.problem]
        return problems[0] if problems and len(problems) == len(self._logs) else ""

    @property
    def problem_may_pass(self) -> bool:
        """Whether a log file met an error of the disk that may be over at the next read."""
        return any(isinstance(reader.tail, Tail) and reader.tail.may_pass for reader in self.readers)

    def roles(self) -> dict[str, str]:
        """Return what each log is to the run, in words, by its path."""
        known = set(self.ownership.order())
        return {
            str(log.reader.path): self.ownership.role_of(log.source) if log.source in known else "nothing read yet"
            for log in self._logs
        }

    # ---- state ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        taken = {str(log.reader.path): log.again + (log.waiting.taken if log.waiting else 0) for log in self._logs}
        heard = {path: rows for path, rows in taken.items() if rows}
        return {**super().state(), "ownership": self.ownership.state(), "taken": heard}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        super().restore(state)
        self.ownership.restore(state["ownership"])
        for log in self._logs:
            log.again = state["taken"].get(str(log.reader.path), 0)

    def save(self) -> None:
        """Put the state of each log into the open transaction of the store."""
        for log in self._logs:
            before = log.waiting.before if log.waiting else None
            self._store.save_log(self._run, str(log.reader.path), before or log.reader.state())

    def close(self) -> None:
        """Close the logs."""
        for log in self._logs:
            log.reader.close()


def _written_at(path: Path) -> float | None:
    """Return when a log was written to last, in seconds since the epoch; None where nobody can tell."""
    try:
        return path.stat().st_mtime
    except OSError:  # standard input, or it was renamed meanwhile
        return None
