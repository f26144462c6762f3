"""Durable state of a daemon: offsets, detector states, the journal and the control state, in one SQLite file.

One transaction holds the results of a read: the offset of the log, the states of the detectors, the journal entries and the
command that follows. So a daemon that is killed at any point and started again neither repeats nor loses anything: what it
had read since the last transaction had led to nothing, and is read again. The journal is a subject of its own: see
`lrwatch.journal`.

The file lies on a local disk (WAL does not work on network file systems); one daemon at a time may hold it.

One file because a transaction spans all of its tables.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import msgspec

from lrwatch.errors import InputError
from lrwatch.journal import Entry as Entry
from lrwatch.journal import Journal, JournalFault, JournalOptions

# Incremented when the tables or what is in them change; a newer file is refused, not guessed at.
SCHEMA_VERSION = 3

# Answered requests that are kept, the newest: the asker looks for the answer a moment later.
KEPT_ANSWERS = 1000

# Runs without files whose state is kept, the newest: when the files come back, such a run goes on.
KEPT_REMOVED = 1000

# Requests that may wait for an answer: those to a run that was set aside wait until it can be read again.
MAX_OPEN_REQUESTS = 1000

# Seconds that a reader or writer waits for the transaction of another, and that a daemon does, which tries again at the next turn.
BUSY_SECONDS = 5.0
BRIEF_SECONDS = 0.1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (name TEXT PRIMARY KEY, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS logs (
    run TEXT NOT NULL, path BLOB NOT NULL, state BLOB NOT NULL, PRIMARY KEY (run, path)
);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, run TEXT NOT NULL, actor TEXT NOT NULL, verb TEXT NOT NULL,
    argument TEXT NOT NULL, answer TEXT
);
CREATE TABLE IF NOT EXISTS status (run TEXT PRIMARY KEY, status BLOB NOT NULL);
"""

# The name of the state, at random: in a control directory a daemon knows by it what it claimed before a restart.
_OWNER = "CREATE TABLE IF NOT EXISTS owner (id TEXT NOT NULL)"

# A table that a state of the same version may lack; without it nothing is lost but pictures.
_PICTURES = "CREATE TABLE IF NOT EXISTS pictures (run TEXT PRIMARY KEY, picture BLOB NOT NULL)"


def default_directory(environ: Mapping[str, str]) -> Path:
    """Return the state directory of the XDG specification: $XDG_STATE_HOME/lrwatch, else ~/.local/state/lrwatch."""
    base = environ.get("XDG_STATE_HOME", "")
    if base and Path(base).is_absolute():
        return Path(base) / "lrwatch"
    return Path(environ.get("HOME") or "~").expanduser() / ".local" / "state" / "lrwatch"


@dataclass(frozen=True, slots=True)
class Request:
    """A request of an operator to the daemon.

    Attributes:
        id: Its number: above 0 in the store, below 0 where it came over the socket.
        run: The run's name.
        actor: The operator.
        verb: The name of the request.
        argument: Its argument, as the verb defines it, or "".
        uid: The operator's user, as the kernel says, or None where it is not known.
        refusal: Why this operator may not ask it, or "".
        reply: Takes the answer, once it is journalled; None where the answer goes into the store.
    """

    id: int
    run: str
    actor: str
    verb: str
    argument: str
    uid: int | None = None
    refusal: str = ""
    reply: Callable[[dict[str, Any]], None] | None = None


class StateGoneError(sqlite3.OperationalError):
    """The file was deleted or replaced while it was open: what is written goes nowhere."""


class Store:
    """The state of one daemon.

    Args:
        directory: The state directory, created when missing; None keeps everything in memory (`replay`).
        exclusive: Take the lock that only one daemon may hold; readers and operators need none.

    Attributes:
        path: The file.
        damaged: What could not be read since it was opened, and was left out, as phrases.
        owner: Name of the state, which all restarts of its daemon share; "" where it is not taken exclusively.

    Raises:
        InputError: The directory or the file cannot be used, or another daemon holds it.
    """

    def __init__(self, directory: Path | None, *, exclusive: bool = False) -> None:
        self._lock: TextIO | None = None
        self.path = Path(":memory:") if directory is None else directory / "lrwatch.sqlite"
        self.damaged: list[str] = []
        self.owner = ""
        self._identity: tuple[int, int] | None = None
        try:
            if directory is not None:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                if exclusive:
                    self._lock = _take_lock(directory)
                _make_file(self.path)
            self._db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._journal = Journal(self._db, directory)
            self._prepare()
            # Of the file that SQLite has open: on an overlay, to open it may have copied it up.
            if directory is not None:
                self._identity = _identity(self.path)
            if exclusive:
                self.owner = self._read_owner()
                self._journal.begin()
        except (OSError, sqlite3.Error, InputError) as error:
            self.close()
            if isinstance(error, InputError):
                raise
            raise InputError(
                expected="a state directory on a local disk that can be written",
                found=str(error),
                where=str(directory),
                hint="Give another one with --state or LRWATCH_DAEMON_STATE.",
            ) from error

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise InputError(
                expected=f"state of version {SCHEMA_VERSION} or older",
                found=f"version {version}",
                where=str(self.path),
                hint="A newer lrwatch wrote it: use that one, or give another directory with --state.",
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # a journalled command survives a power cut
        if version < SCHEMA_VERSION:
            self._db.executescript(_SCHEMA)
            self._journal.create_tables()
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._db.execute(_PICTURES)

    def _read_owner(self) -> str:
        """Return the name of the state, made where it has none yet."""
        self._db.execute(_OWNER)
        if (found := self._db.execute("SELECT id FROM owner").fetchone()) is not None:
            return str(found[0])
        name = os.urandom(16).hex()
        self._db.execute("INSERT INTO owner VALUES (?)", (name,))
        return name

    def close(self) -> None:
        """Close the file and release the lock."""
        if hasattr(self, "_db"):
            self._db.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def be_brief(self) -> None:
        """Wait no more than BRIEF_SECONDS for others from now on: a daemon must hear a stop within two seconds."""
        self._db.execute(f"PRAGMA busy_timeout = {int(1000 * BRIEF_SECONDS)}")

    def check(self) -> None:
        """Check that the file is still where it was: SQLite writes into a deleted one without an error.

        Raises:
            StateGoneError: It was deleted or replaced.
        """
        if self._identity is None:
            return
        try:
            found: tuple[int, int] | None = _identity(self.path)
        except (FileNotFoundError, NotADirectoryError):
            found = None
        except OSError:  # it cannot be looked at, which does not mean that it is gone
            return
        if found != self._identity:
            raise StateGoneError(f"it was {'deleted' if found is None else 'replaced'} while it was in use")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Open a transaction: all of its writes are committed, or none."""
        self.check()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._journal.undone()
            if self._db.in_transaction:  # SQLite itself rolls back when the disk is full
                self._db.execute("ROLLBACK")
            raise
        self._journal.committed()

    # ---- runs and their logs --------------------------------------------------------------------------------------

    def runs(self) -> list[str]:
        """Return the names of all runs, in order."""
        return [name for (name,) in self._db.execute("SELECT name FROM runs UNION SELECT run FROM status ORDER BY 1")]

    def load_run(self, name: str) -> dict[str, Any] | None:
        """Return the saved state of a run, or None."""
        row = self._db.execute("SELECT state FROM runs WHERE name = ?", (name,)).fetchone()
        return None if row is None else _unpacked(row[0])

    def save_run(self, name: str, state: Mapping[str, Any]) -> None:
        """Replace the saved state of a run."""
        self._db.execute("REPLACE INTO runs VALUES (?, ?)", (name, _packed(state)))

    def load_log(self, run: str, path: str) -> dict[str, Any] | None:
        """Return the saved state of one log of a run, or None."""
        row = self._db.execute("SELECT state FROM logs WHERE run = ? AND path = ?", (run, os.fsencode(path))).fetchone()
        return None if row is None else _unpacked(row[0])

    def save_log(self, run: str, path: str, state: Mapping[str, Any]) -> None:
        """Replace the saved state of one log of a run."""
        self._db.execute("REPLACE INTO logs VALUES (?, ?, ?)", (run, os.fsencode(path), _packed(state)))

    def logs(self, run: str) -> list[str]:
        """Return the paths of the logs of a run, in order."""
        query = "SELECT path FROM logs WHERE run = ? ORDER BY path"
        return [os.fsdecode(path) for (path,) in self._db.execute(query, (run,))]

    def run_of(self, path: str) -> str | None:
        """Return the name of the run to which the log at `path` belongs, or None."""
        row = self._db.execute("SELECT run FROM logs WHERE path = ?", (os.fsencode(path),)).fetchone()
        return None if row is None else str(row[0])

    def load_picture(self, run: str) -> bytes | None:
        """Return the saved picture of a run, or None."""
        row = self._db.execute("SELECT picture FROM pictures WHERE run = ?", (run,)).fetchone()
        return None if row is None else bytes(row[0])

    def save_picture(self, run: str, picture: bytes) -> None:
        """Replace the saved picture of a run."""
        self._db.execute("REPLACE INTO pictures VALUES (?, ?)", (run, picture))

    # ---- journal --------------------------------------------------------------------------------------------------

    def append(self, run: str, event: Mapping[str, Any], time: float) -> Entry:
        """Append an event to the journal.

        Args:
            run: The run's name.
            event: The event, JSON-plain.
            time: Seconds since the epoch.

        Returns:
            The entry.
        """
        if self._db.in_transaction:
            return self._journal.append(run, event, time)
        with self.transaction():
            return self._journal.append(run, event, time)

    def journal(self, run: str | None = None, *, after: int = 0) -> Iterator[Entry]:
        """Yield the entries of one run or of all after entry `after`, in order, those in files included."""
        return self._journal.entries(run, after)

    def newest(self, run: str, most: int) -> list[Entry]:
        """Return the newest entries of a run, `most` at the most, in order, without those in files."""
        return self._journal.newest(run, most)

    def rotate_journal(self, options: JournalOptions) -> bool:
        """Move the oldest entries to a file if there are too many. Return whether there was anything to do.

        Raises:
            OSError: The file could not be written.
            ProtocolError: Others may write in its directory.
            sqlite3.Error: The store could not be written.
        """
        surplus = self._journal.surplus(options)
        if surplus is None:
            return False
        with self.transaction():
            self._journal.take_out(surplus, options.files)
        self._journal.sweep()
        return True

    def journal_fault(self, anchors: Mapping[int, str] | None = None) -> JournalFault | None:
        """Check the journal; `anchors` are hashes by the number of the entry that it must have."""
        return self._journal.fault(anchors or {})

    def broken_link(self) -> int | None:
        """Return the first journal entry that does not fit the chain or is missing, or None when all is there."""
        fault = self.journal_fault()
        return None if fault is None else fault.entry

    @property
    def journal_problem(self) -> str:
        """What was missing in the journal when the daemon began, as a sentence, or ""."""
        return self._journal.problem

    def missing(self) -> str:
        """Return what this state has lost, as a sentence, or ""; `journal_problem` is for daemons."""
        return self._journal.missing()

    @property
    def journal_dropped(self) -> int:
        """Number of the newest journal entry that is no longer kept; 0 while all are."""
        return self._journal.dropped

    def journal_length(self) -> int:
        """Return the number of the newest journal entry: how many were written so far."""
        return self._journal.newest_entry()[0]

    # ---- operators and status -------------------------------------------------------------------------------------

    def request(self, run: str, actor: str, verb: str, argument: str, time: float) -> int:
        """Leave a request for the daemon.

        Args:
            run: The run's name.
            actor: The operator.
            verb: The name of the request.
            argument: Its argument, as the verb defines it, or "".
            time: Seconds since the epoch.

        Returns:
            Its number.

        Raises:
            InputError: Too many wait already.
        """
        (waiting,) = self._db.execute("SELECT count(*) FROM requests WHERE answer IS NULL").fetchone()
        if waiting >= MAX_OPEN_REQUESTS:
            raise InputError(
                expected=f"fewer than {MAX_OPEN_REQUESTS} requests that wait for the daemon", found=str(waiting), where=str(self.path),
                hint="See `lrwatch doctor` for why it answers none.",
            )  # fmt: skip
        cursor = self._db.execute(
            "INSERT INTO requests (time, run, actor, verb, argument) VALUES (?, ?, ?, ?, ?)",
            (time, run, actor, verb, argument),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def requests(self) -> dict[str, list[Request]]:
        """Return the requests without an answer, by run."""
        unanswered: dict[str, list[Request]] = {}
        query = "SELECT id, run, actor, verb, argument FROM requests WHERE answer IS NULL ORDER BY id"
        for row in self._db.execute(query):
            request = Request(*row)
            unanswered.setdefault(request.run, []).append(request)
        return unanswered

    def answer(self, request_id: int, answer: Mapping[str, Any]) -> None:
        """Answer a request, and forget the oldest answers."""
        self._db.execute("UPDATE requests SET answer = ? WHERE id = ?", (json.dumps(answer), request_id))
        self._db.execute("DELETE FROM requests WHERE answer IS NOT NULL AND id <= ?", (request_id - KEPT_ANSWERS,))

    def answer_to(self, request_id: int) -> dict[str, Any] | None:
        """Return the answer to a request, or None while there is none."""
        row = self._db.execute("SELECT answer FROM requests WHERE id = ?", (request_id,)).fetchone()
        return None if row is None or row[0] is None else json.loads(row[0])

    def save_status(self, run: str, status: Mapping[str, Any]) -> None:
        """Replace the status of a run."""
        self._db.execute("REPLACE INTO status VALUES (?, ?)", (run, _packed(status)))

    def drop_status(self, run: str) -> None:
        """Forget the status of a run that was removed. Its journal stays, and its state, until KEPT_REMOVED others were removed after it."""
        removed = "SELECT name FROM runs WHERE name NOT IN (SELECT run FROM status)"
        oldest = (
            f"{removed} ORDER BY rowid DESC LIMIT -1 OFFSET {KEPT_REMOVED}"  # saving a run gives it the newest number
        )
        with self.transaction():
            self._db.execute("DELETE FROM status WHERE run = ?", (run,))
            forgotten = self._db.execute(oldest).fetchall()
            for table, column in (("runs", "name"), ("logs", "run"), ("pictures", "run")):
                self._db.executemany(f"DELETE FROM {table} WHERE {column} = ?", forgotten)  # noqa: S608  no text from outside

    def statuses(self) -> dict[str, dict[str, Any]]:
        """Return the status of each run, by name, without those that are damaged: a running daemon writes them again."""
        found: dict[str, dict[str, Any]] = {}
        self.damaged = []
        for run, packed in self._db.execute("SELECT run, status FROM status ORDER BY run"):
            try:
                found[run] = dict(_unpacked(packed))
            except (ValueError, TypeError):  # noqa: PERF203  one damaged row hides no other
                self.damaged.append(f"the status of run {run}")
        return found


def _packed(state: Mapping[str, Any]) -> bytes | str:
    """Return a state as MessagePack, which takes a fiftieth of the time of JSON; as JSON where it holds what MessagePack does not."""
    try:
        return msgspec.msgpack.encode(state, enc_hook=_plain)
    except (UnicodeEncodeError, OverflowError):  # the name of a file may be any bytes, a number may have any digits
        return json.dumps(state)


def _plain(value: object) -> float:
    """Return a number of numpy as one of Python.

    Raises:
        TypeError: It is no number.
    """
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"a state holds plain values, found {type(value).__name__}")


def _unpacked(packed: bytes | str) -> Any:
    """Return the state that `_packed`, or a version that wrote all states as JSON, has written.

    Raises:
        ValueError: It is damaged.
    """
    if isinstance(packed, str):
        return json.loads(packed)
    try:
        return msgspec.msgpack.decode(packed)
    except msgspec.DecodeError as error:
        raise ValueError(f"damaged state: {error}") from error


def _make_file(path: Path) -> None:
    """Make the file of a state, for its owner alone, where there is none.

    Raises:
        OSError: It cannot be made, or what is there is no regular file.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    # One that is there is not opened: to close it would end the locks that SQLite holds on it in this process (fcntl(2)).
    if not path.is_file():
        raise OSError(f"{path.name} is not a regular file")


def _identity(path: Path) -> tuple[int, int]:
    """Return device and inode of a file.

    Raises:
        OSError: It is gone, or cannot be looked at.
    """
    about = os.stat(path)  # noqa: PTH116  a third of the time of Path.stat, at every turn
    return about.st_dev, about.st_ino


def daemon_is_running(directory: Path) -> bool:
    """Return whether a daemon holds the lock of `directory`."""
    try:
        with (directory / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _take_lock(directory: Path) -> TextIO:
    handle = os.open(directory / "lock", os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    lock = os.fdopen(handle, "a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise InputError(
            expected="a state directory that no other daemon uses",
            found=f"process {holder} holds it",
            where=str(directory),
            hint="Stop that daemon, or give this one a directory of its own with --state.",
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock
