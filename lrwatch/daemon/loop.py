"""The daemon's loop: wake, give every run its turn, publish a snapshot. `replay` is the same turn without the waiting."""

from __future__ import annotations

import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from lrwatch import formats
from lrwatch.config import Config
from lrwatch.core.snapshot import Snapshot
from lrwatch.daemon import operator
from lrwatch.daemon.inbox import Inbox
from lrwatch.daemon.wake import Waker
from lrwatch.daemon.watched_run import Listener, WatchedRun, save_together
from lrwatch.errors import ConfigError
from lrwatch.protocol import ProtocolError, read_key
from lrwatch.sources.discover import Log, discover
from lrwatch.sources.stdin import STDIN, Stdin
from lrwatch.store import Request, Store

# Seconds between two searches for new files and directories: a new run may wait that long, and a directory of 10,000 files
# is not worth a scan a second.
DISCOVER_SECONDS = 5.0

# A turn over all runs is interrupted after this, and continues once a snapshot is published: a backlog of hours must neither
# hide the state of the runs nor delay a stop.
TURN_SECONDS = 0.5

# Share of the time that may go into saving what need not be saved at once. A single run is saved at every turn; a thousand
# are saved in rotation, each every half minute. Whatever is unsaved at a kill is read again.
SAVE_SHARE = 0.02

# Runs saved in one transaction: enough that the disk's confirmation costs little compared with the writing.
SAVED_TOGETHER = 32

# Most time for saving that may accumulate: saving prolongs no turn by more than that.
MAX_SAVE_SECONDS = 0.25

# Seconds for the last save: the daemon must end within two.
LAST_SAVE_SECONDS = 1.0

# Share of the time that may go into the search for new files: ten thousand directories are searched less often.
DISCOVER_SHARE = 0.01

Clock = Callable[[], float]


def _never() -> bool:
    return False


class Sink(Protocol):
    """Receiver of snapshots: the exporter."""

    def publish(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on."""

    def observe_loop(self, seconds: float) -> None:
        """Record the duration of one turn over all runs."""


class Daemon:
    """All runs of one process.

    Args:
        config: The settings; `config.watch.paths` says what is read.
        store: Where the state is kept.
        listener: Called with every journal entry after it was saved.
        clock: Seconds since the epoch.

    Attributes:
        runs: The runs, by name.
        inbox: Requests of operators that came over the socket.
        problems: Problems of the daemon as a whole, a sentence each.
        behind: Whether the last turn ended before all was read.

    Raises:
        ConfigError: The key file cannot be used, or there is no such format.
    """

    def __init__(self, config: Config, store: Store, listener: Listener, *, clock: Clock = time.time) -> None:
        self._config = config
        self._store = store
        self._listener = listener
        self._clock = clock
        self._key = _read_key(config.daemon.key_file)
        if config.watch.reading != "auto":
            formats.by_name(config.watch.reading)
        self._discovered_at = float("-inf")
        self.runs: dict[str, WatchedRun] = {}
        self.inbox = Inbox()
        self.problems: list[str] = []
        self._uncontrolled: dict[str, str] = {}
        self._unsaved: dict[str, WatchedRun] = {}
        self._saved_at = time.perf_counter()
        self._save_seconds = 0.0
        self._next = 0  # index of the run at which an interrupted turn continues
        self._round = (False, False)  # its results until then: anything was read, a run is behind
        self.behind = False

    def discover(self) -> None:
        """Search the watched paths for new runs and logs."""
        self._discovered_at = self._clock()
        found = discover(self._config.watch.paths)
        self.problems = list(found.problems)
        followed = {reader.path: name for name, run in self.runs.items() for reader in run.logs.readers}
        for _, group in itertools.groupby(found.logs, key=lambda log: log.run):
            logs = list(group)
            names = {followed[log.path] for log in logs if log.path in followed}
            name = min(names) if names else self._name(logs)
            if name not in self.runs:
                self.runs[name] = WatchedRun(
                    name,
                    [],
                    self._control(name, logs[0]),
                    self._config,
                    self._store,
                    self._listener,
                    self._key,
                    journals_settings=True,
                )
            for log in logs:
                self.runs[name].add_log(log.path)
        if self._config.policy.mode in ("approve", "auto"):
            self.problems.extend(self._uncontrolled.values())

    def _name(self, logs: Sequence[Log]) -> str:
        """Return the name under which the store has the run of `logs`, or one that no other run has.

        The name that discovery gives depends on the other runs that it finds; the name in the journal must not.
        """
        for log in logs:
            if (name := self._store.run_of(str(log.path))) is not None:
                return name
        name = os.fsencode(logs[0].run).decode("utf-8", "backslashreplace")
        taken = {*self.runs, *self._store.runs()}
        for part in reversed(logs[0].control.parent.parts[1:]):
            if name not in taken:
                return name
            if not name.startswith(f"{part}/") and name != part:
                name = f"{part}/{name}"
        return name if name not in taken else str(logs[0].path)

    def _control(self, name: str, log: Log) -> Path | None:
        """Return the control directory of a new run, or None where another run has it already."""
        control = Path(self._config.watch.control or log.control)
        for other, run in self.runs.items():
            if run.control == control:
                self._uncontrolled[name] = (
                    f"{name}: only watched, because run {other} commands the trainer of {control}"
                )
                return None
        return control

    def turn(self, stopped: Callable[[], bool] = _never, *, final: bool = False) -> bool:
        """Give runs their turn, until all had it, TURN_SECONDS are over or `stopped` returns True.

        An interrupted turn is completed by the next call instead of started over: where turns take long, no run must have
        two before the wait.

        Args:
            stopped: Asked before each run whether to end.
            final: The logs are complete.

        Returns:
            Whether anything was read, or a run has not had its turn.
        """
        progress, behind = self._round
        requests = self._requests()
        ends = time.perf_counter() + TURN_SECONDS
        runs = list(self.runs.values())[self._next :]
        self._next, self._round = 0, (False, False)
        for taken, run in enumerate(runs):
            if stopped():
                break
            if taken and time.perf_counter() > ends:
                self._next, self._round = len(self.runs) - len(runs) + taken, (progress, behind)
                progress = behind = True
                break
            now = self._clock()
            due = [request for request in requests.get(run.name, ()) if not run.is_answered(request)]
            progress |= run.turn(now, final=final)
            behind |= run.logs.behind
            for request in due:
                operator.handle(run, request, self._config.policy, now)
            if due:
                run.save(now)
            if run.unsaved:
                self._unsaved.setdefault(run.name, run)
        self._save_some()
        self.behind = behind
        return progress

    def _requests(self) -> dict[str, list[Request]]:
        try:
            requests = self._store.requests()
        except sqlite3.Error:
            for watched in self.runs.values():
                watched.logs.errors["not_saved"] += 1
            requests = {}
        for run, asked in self.inbox.requests().items():
            requests.setdefault(run, []).extend(asked)
        return requests

    def _save_some(self) -> None:
        """Save the runs that are pressing, and of the others the least recently saved, as many as there is time for."""
        now = time.perf_counter()
        self._save_seconds = min(MAX_SAVE_SECONDS, self._save_seconds + SAVE_SHARE * (now - self._saved_at))
        self._saved_at = now
        self._save(self._save_seconds)
        self._save_seconds -= time.perf_counter() - now

    def _save(self, seconds: float) -> None:
        ends = time.perf_counter() + seconds
        waiting = sorted(self._unsaved.values(), key=lambda run: not run.logs.pressing)
        for at in range(0, len(waiting), SAVED_TOGETHER):
            together = waiting[at : at + SAVED_TOGETHER]
            if not together[0].logs.pressing and (seconds <= 0 or time.perf_counter() > ends):
                break
            save_together(self._store, together, self._clock())
            if together[0].unsaved:  # the disk refuses
                break
        self._unsaved = {name: run for name, run in self._unsaved.items() if run.unsaved}

    def save(self) -> None:
        """Save every run with unsaved state."""
        self._save(float("inf"))

    def read_all(self, *, final: bool = False, after_turn: Callable[[], object] = lambda: None) -> None:
        """Take turns until there is nothing more to read, and save; call `after_turn` after each."""
        while self.turn(final=final):
            after_turn()
        self.save()

    def run(self, waker: Waker, sink: Sink) -> None:
        """Take turns until the waker is stopped."""
        hints_due, discovering = False, 0.0
        while True:
            began = time.perf_counter()
            if self._clock() - self._discovered_at >= max(DISCOVER_SECONDS, discovering / DISCOVER_SHARE):
                self.discover()
                discovering = time.perf_counter() - began
                hints_due = True
            self.turn(lambda: waker.stopped)
            if hints_due and not self.behind:  # a daemon that is behind reads on without a hint
                waker.watch(self._directories())
                hints_due = False
            sink.publish(self.snapshot())
            sink.observe_loop(time.perf_counter() - began)
            if waker.stopped or not (self.behind or waker.wait()):
                break
        self._save(LAST_SAVE_SECONDS)

    def wait_for_input(self) -> bool:
        """Wait for more of standard input.

        Returns:
            Whether standard input is among the logs and has not ended.
        """
        tails = (reader.tail for run in self.runs.values() for reader in run.logs.readers)
        open_input = next((tail for tail in tails if isinstance(tail, Stdin) and not tail.ended), None)
        if open_input is not None:
            open_input.wait(self._config.daemon.poll_seconds)
        return open_input is not None

    def _directories(self) -> set[Path]:
        logs = {reader.path.parent for run in self.runs.values() for reader in run.logs.readers}
        logs.discard(STDIN.parent)
        return logs | {run.control for run in self.runs.values() if run.control is not None}

    def snapshot(self) -> Snapshot:
        """Return the status of all runs."""
        now = self._clock()
        return Snapshot(now, tuple(run.status(now) for run in self.runs.values()))

    def close(self) -> None:
        """Close all logs."""
        for run in self.runs.values():
            run.close()


def _read_key(key_file: str) -> bytes | None:
    if not key_file:
        return None
    try:
        return read_key(key_file)
    except (OSError, ProtocolError) as error:
        raise ConfigError(
            expected="a file with a key", found=str(error), where=f"[daemon] key_file = {key_file!r}",
            hint="Make one with: head -c 32 /dev/urandom | base64 > FILE",
        ) from error  # fmt: skip
