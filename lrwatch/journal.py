"""The journal of a daemon: a hash chain whose newest entries lie in the store, and older ones in files beside it.

The hash of each entry covers the entry and the hash before it, so a changed entry breaks the chain. What a chain alone does not show is
that its end is missing. Two anchors show that:

- the table `journal_ends` has the number and hash of the newest entry. It is written in the entry's own transaction, so deleted
  entries are missed, and the numbers of new ones leave a gap;
- the file `journal-head` beside the store has them too, written after each transaction. It shows that the whole store was replaced by
  an older copy, or has lost its write-ahead log.

Anyone who may write the state directory can forge all of that. Only a copy that is out of their reach shows it: what `lrwatch run` prints,
or any line of `lrwatch journal --format json`, for `lrwatch journal --anchor ID:HASH`; and the number of entries in Prometheus.

The store holds so many entries as `JournalOptions` says. What is older is moved, a tenth of the store at a time, to compressed files in
`journal/`; the oldest files are dropped. Their entries are counted, and the chain goes on from the hash of the last of them.

One file because the chain, its anchors and its files are changed together.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lrwatch.protocol import publish, sweep

# Number and hash before the first entry.
_NONE = (0, "0" * 64)

FOLDER_NAME = "journal"
HEAD_NAME = "journal-head"
LOST_HEAD_NAME = "journal-head.lost"
"""What `journal-head` said when a daemon began on a store that does not have that entry; somebody who knows why removes it."""

# Levels above it cost more time than the entries, half of which is the digits of hashes, get smaller.
_COMPRESSION = 3
_FILE = re.compile(r"\d{12}-(\d{12,})-[0-9a-f]{8}\.jsonl\.gz")
_HEAD = re.compile(rb"(\d{20}) ([0-9a-f]{64})\n")

_TABLES = """
CREATE TABLE IF NOT EXISTS journal (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, run TEXT NOT NULL, event TEXT NOT NULL, hash TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS journal_run ON journal (run, id);
CREATE TABLE IF NOT EXISTS journal_files (
    name TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER PRIMARY KEY, hash TEXT NOT NULL, runs TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS journal_ends (name TEXT PRIMARY KEY, id INTEGER NOT NULL, hash TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class JournalOptions:
    """`[journal]`: how much of it is kept.

    Attributes:
        in_store: Entries in the store at the most; an entry has about 500 bytes. Older ones are moved to compressed files, a tenth of
            this number in each.
        files: Such files that are kept, the newest; with 0 older entries are dropped at once.
    """

    in_store: int = 100_000
    files: int = 40

    def __post_init__(self) -> None:
        if self.in_store < 100:
            raise ValueError(f"in_store must be 100 or more, got {self.in_store!r}")
        if self.files < 0:
            raise ValueError(f"files must be 0 or more, got {self.files!r}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the journal; `event` is in the JSON form of the contract."""

    id: int
    time: float
    run: str
    event: dict[str, Any]
    hash: str

    def as_json(self) -> dict[str, Any]:
        """Return the event with `time`, `id` and `hash` added."""
        return {**self.event, "run": self.run, "time": self.time, "id": self.id, "hash": self.hash}


@dataclass(frozen=True, slots=True)
class JournalFault:
    """The first place at which the journal has changed since it was written.

    Attributes:
        entry: Number of the entry.
        found: What is wrong, as a clause.
    """

    entry: int
    found: str


class _Stored(NamedTuple):
    id: int
    time: float
    run: str
    event: str
    hash: str


class _OldEntries(NamedTuple):
    name: str
    last: int
    runs: str  # as a JSON list


class _Surplus(NamedTuple):
    rows: list[_Stored]
    name: str


class _UnreadableFileError(Exception):
    """A file of older entries cannot be read."""


def _digest(previous: str, entry_id: int, time: float, run: str, event: str) -> str:
    text = json.dumps([previous, entry_id, time, run, event], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Journal:
    """The journal of one store.

    Args:
        db: The store's database. Callers that append or rotate open the transactions.
        directory: The state directory, or None where everything is in memory.

    Attributes:
        problem: What a daemon that begins finds missing, as a sentence, or "".
    """

    def __init__(self, db: sqlite3.Connection, directory: Path | None) -> None:
        self._db = db
        self._directory = directory
        self._appended: tuple[int, str] | None = None
        self.problem = ""

    def create_tables(self) -> None:
        """Create the tables of the journal, or those that an older version did not have."""
        self._db.executescript(_TABLES)
        newest = self._db.execute("SELECT id, hash FROM journal ORDER BY id DESC LIMIT 1").fetchone()
        for name, (entry_id, digest) in {"dropped": _NONE, "newest": newest or _NONE}.items():
            self._db.execute("INSERT OR IGNORE INTO journal_ends VALUES (?, ?, ?)", (name, entry_id, digest))

    # ---- writing --------------------------------------------------------------------------------------------------

    def append(self, run: str, event: Mapping[str, Any], time: float) -> Entry:
        """Append an event within the open transaction; `committed` or `undone` must follow.

        Args:
            run: The run's name.
            event: The event, JSON-plain.
            time: Seconds since the epoch.

        Returns:
            The entry.
        """
        last, previous = self.newest_entry()
        entry_id, text = last + 1, json.dumps(event)
        entry = Entry(entry_id, time, run, dict(event), _digest(previous, entry_id, time, run, text))
        self._db.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?)", (entry_id, time, run, text, entry.hash))
        self._db.execute("REPLACE INTO journal_ends VALUES ('newest', ?, ?)", (entry_id, entry.hash))
        self._appended = entry_id, entry.hash
        return entry

    def committed(self) -> None:
        """Write `journal-head` after a transaction that has appended."""
        if self._appended is not None and self._directory is not None:
            with contextlib.suppress(OSError):  # it lags behind the store then, as after a kill at this place
                _write_head(self._directory / HEAD_NAME, *self._appended)
        self._appended = None

    def undone(self) -> None:
        """Forget the entries of a failed transaction."""
        self._appended = None

    def begin(self) -> None:
        """Compare `journal-head` with the store when a daemon begins, before it is written over."""
        missing = self.missing()
        if not missing or self._directory is None:
            return
        lost = self._directory / LOST_HEAD_NAME
        if not lost.exists():
            (self._directory / HEAD_NAME).replace(lost)
        self.problem = f"{missing}. {lost} is kept as the evidence; remove it once you know why"

    def missing(self) -> str:
        """Return what the store does not have though `journal-head` notes it, as a sentence, or ""."""
        if self._directory is None or (head := _read_head(self._directory / HEAD_NAME)) is None:
            return ""
        entry_id, digest = head
        row = self._db.execute("SELECT hash FROM journal WHERE id = ?", (entry_id,)).fetchone()
        in_files = self._db.execute("SELECT max(last) FROM journal_files").fetchone()[0] or 0
        if (row is not None and row[0] == digest) or 0 < entry_id <= max(in_files, self.dropped):
            return ""
        newest = self.newest_entry()[0]
        if newest == 0:
            return (
                f"state: the store in {self._directory} is empty, and it had {entry_id} entries of the journal: it was deleted or cut to "
                "nothing. Lost are the journal in it, what was decided, holds, and how far the logs were read; they are read again from "
                "their beginning, and a training keeps its scale"
            )
        return (
            f"journal: entry {entry_id} was written and is not in {self._directory}, which has {newest}: its store was replaced by an older "
            "one, or changed"
        )

    def surplus(self, options: JournalOptions) -> _Surplus | None:
        """Return the oldest entries, in a file already, if there are too many in the store; None otherwise.

        Raises:
            OSError: The file could not be written.
            ProtocolError: Others may write in its directory.
        """
        if self._directory is None:
            return None
        query = "SELECT (SELECT min(id) FROM journal), (SELECT max(id) FROM journal)"
        oldest, newest = self._db.execute(query).fetchone()
        if oldest is None or newest - oldest < options.in_store:
            return None
        part = self._db.execute("SELECT * FROM journal ORDER BY id LIMIT ?", (options.in_store // 10,))
        rows = [_Stored(*row) for row in part]
        return _Surplus(rows, self._move(rows) if options.files else "")

    def take_out(self, surplus: _Surplus, files: int) -> None:
        """Note the file of these entries instead of them, and forget the oldest files, within the open transaction.

        Args:
            surplus: From `surplus`. Its file is on the disk by now, so a kill at any point leaves each entry in the store or in a file
                that the store names.
            files: Files that are kept.
        """
        last = surplus.rows[-1]
        self._db.execute("DELETE FROM journal WHERE id <= ?", (last.id,))
        dropped = (last.id, last.hash)
        if surplus.name:
            noted = (surplus.name, surplus.rows[0].id, *dropped, json.dumps(sorted({row.run for row in surplus.rows})))
            self._db.execute("INSERT INTO journal_files VALUES (?, ?, ?, ?, ?)", noted)
            query = "SELECT last, hash FROM journal_files ORDER BY last DESC LIMIT 1 OFFSET ?"
            dropped = self._db.execute(query, (files,)).fetchone()
        if dropped is not None:
            self._db.execute("DELETE FROM journal_files WHERE last <= ?", dropped[:1])
            self._db.execute("REPLACE INTO journal_ends VALUES ('dropped', ?, ?)", dropped)

    def sweep(self) -> None:
        """Remove the files whose entries are dropped, and what killed processes left."""
        assert self._directory is not None
        folder = self._directory / FOLDER_NAME
        if not folder.exists():  # none was ever written
            return
        sweep(folder, of_commands=False)
        dropped = self.dropped
        for path in folder.glob("*.jsonl.gz"):
            found = _FILE.fullmatch(path.name)
            if found is not None and int(found[1]) <= dropped:
                path.unlink(missing_ok=True)

    def _move(self, rows: list[_Stored]) -> str:
        """Write entries to a file of their own, and return its name."""
        assert self._directory is not None
        folder = self._directory / FOLDER_NAME
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{rows[0].id:012}-{rows[-1].id:012}-{rows[-1].hash[:8]}.jsonl.gz"
        data = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), _COMPRESSION, mtime=0)
        publish(folder, name, data)
        return name

    # ---- reading --------------------------------------------------------------------------------------------------

    @property
    def dropped(self) -> int:
        """Number of the newest entry that is no longer kept; 0 while all are."""
        return self._end("dropped")[0]

    def newest_entry(self) -> tuple[int, str]:
        """Return the number and the hash of the newest entry that was written, whether or not it is still there."""
        noted = self._end("newest")
        row = self._db.execute("SELECT id, hash FROM journal ORDER BY id DESC LIMIT 1").fetchone()
        return noted if row is None or row[0] <= noted[0] else row  # behind what is noted: of an older lrwatch

    def entries(self, run: str | None, after: int) -> Iterator[Entry]:
        """Yield the entries of one run or of all after entry `after`, in order; a file that cannot be read is left out."""
        query = "SELECT * FROM journal WHERE (?1 IS NULL OR run = ?1) AND id > ?2 ORDER BY id"
        while True:
            # While it is open, the files are those of the same moment: a rotation hides nothing.
            rows = self._db.execute(query, (run, after))
            if (file := self._file_behind(after)) is None:
                break
            rows.close()
            if run is None or run in json.loads(file.runs):
                with contextlib.suppress(_UnreadableFileError):  # `fault` tells
                    yield from (
                        _entry(row) for row in self._in_file(file.name) if run in (None, row.run) and row.id > after
                    )
            after = file.last
        yield from (_entry(_Stored(*row)) for row in rows)

    def newest(self, run: str, most: int) -> list[Entry]:
        """Return the newest entries of a run that the store itself holds, `most` at the most, in order."""
        rows = self._db.execute("SELECT * FROM journal WHERE run = ? ORDER BY id DESC LIMIT ?", (run, most))
        return [_entry(_Stored(*row)) for row in rows][::-1]

    def fault(self, anchors: Mapping[int, str]) -> JournalFault | None:
        """Check the chain from its first entry to its newest, and against everything that notes an entry.

        Args:
            anchors: Hashes by the number of the entry, of entries that must be there unless they are dropped.

        Returns:
            The first fault, or None.
        """
        wanted = dict(anchors)
        if self._directory is not None:  # read first: the daemon may append meanwhile
            for name in (HEAD_NAME, LOST_HEAD_NAME):
                head = _read_head(self._directory / name)
                if head is not None and wanted.setdefault(*head) != head[1]:
                    return JournalFault(head[0], f"entry {head[0]} with another hash than the one that was noted")
        self._db.execute("BEGIN")
        try:
            return self._fault(wanted)
        finally:
            self._db.execute("ROLLBACK")

    def _fault(self, wanted: dict[int, str]) -> JournalFault | None:
        dropped, previous = self._end("dropped")
        newest, digest = self._end("newest")
        if wanted.setdefault(newest, digest) != digest:
            return JournalFault(newest, f"entry {newest} with another hash than the one that was noted")
        last = dropped
        try:
            for row in self._rows():
                if row.id != last + 1:
                    return JournalFault(row.id, f"entry {row.id} where {last + 1} should follow")
                if row.hash != _digest(previous, *row[:4]):
                    return JournalFault(row.id, f"entry {row.id} that does not fit")
                if wanted.get(row.id, row.hash) != row.hash:
                    return JournalFault(row.id, f"entry {row.id} with another hash than the one that was noted")
                last, previous = row.id, row.hash
        except _UnreadableFileError as error:
            return JournalFault(last + 1, str(error))
        if max(wanted) > last:
            return JournalFault(last + 1, f"no entry {last + 1}, though {max(wanted)} was written")
        return None

    def _rows(self) -> Iterator[_Stored]:
        after = 0
        while (file := self._file_behind(after)) is not None:
            yield from self._in_file(file.name)
            after = file.last
        for row in self._db.execute("SELECT * FROM journal ORDER BY id"):
            yield _Stored(*row)

    def _in_file(self, name: str) -> Iterator[_Stored]:
        """Yield the entries of a file.

        Raises:
            _UnreadableFileError: It cannot be read, or not to its end.
        """
        assert self._directory is not None
        path = self._directory / FOLDER_NAME / name
        try:
            with gzip.open(path, "rt", encoding="ascii") as lines:
                for line in lines:
                    yield _Stored(*json.loads(line))
        except (OSError, EOFError, ValueError, TypeError, zlib.error) as error:
            raise _UnreadableFileError(f"{path} cannot be read: {error}") from error

    def _file_behind(self, after: int) -> _OldEntries | None:
        """Return the first file with entries behind `after`."""
        query = "SELECT name, last, runs FROM journal_files WHERE last > ? ORDER BY last LIMIT 1"
        found = self._db.execute(query, (after,)).fetchone()
        return None if found is None else _OldEntries(*found)

    def _end(self, name: str) -> tuple[int, str]:
        found = self._db.execute("SELECT id, hash FROM journal_ends WHERE name = ?", (name,)).fetchone()
        return _NONE if found is None else found


def _entry(row: _Stored) -> Entry:
    """Return an entry as it was written.

    Raises:
        sqlite3.DatabaseError: It is damaged.
    """
    try:
        return Entry(row.id, row.time, row.run, dict(json.loads(row.event)), row.hash)
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"entry {row.id} of the journal is damaged ({error})") from None


def _write_head(path: Path, entry_id: int, digest: str) -> None:
    """Write in place: a line of always the same length needs no room, and is written by one call."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(handle, f"{entry_id:020} {digest}\n".encode("ascii"), 0)
    finally:
        os.close(handle)


def _read_head(path: Path) -> tuple[int, str] | None:
    """Return what a file notes; None where there is none, or a power cut has left nothing that can be read."""
    try:
        found = _HEAD.fullmatch(path.read_bytes())
    except OSError:
        return None
    return None if found is None else (int(found[1]), found[2].decode("ascii"))
