"""The daemon's loop: wake, let every run take its turn, publish what is seen. `replay` is the same loop without the waiting."""

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
from lrwatch.daemon.wake import Waker
from lrwatch.daemon.watched_run import Listener, WatchedRun, save_together
from lrwatch.errors import ConfigError
from lrwatch.protocol import ProtocolError, read_key
from lrwatch.sources.discover import Log, discover
from lrwatch.sources.stdin import STDIN, Stdin
from lrwatch.store import Request, Store

# How often new files and directories are looked for; a new run is worth a short wait, a directory of 10,000 files is
# not worth a scan a second.
DISCOVER_SECONDS = 5.0

# A turn over all runs is broken off after this, and goes on after what was seen is published: a backlog of hours must not hide
# where the daemon stands, nor make it deaf to a stop.
TURN_SECONDS = 0.5

# Share of the time that may go into saving what need not be saved at once. A run alone is saved at every turn; a thousand,
# one after the other, every half minute. What a kill finds unsaved is read again.
SAVE_SHARE = 0.02

# Runs saved in one transaction: so many that the disk's confirmation costs little beside the writing.
SAVED_TOGETHER = 32

# The time for saving that may be put by: no turn takes much longer for it.
MAX_SAVE_SECONDS = 0.25

# The end of the daemon may take two seconds in all.
LAST_SAVE_SECONDS = 1.0

# Share of the time that may go into looking for new files: ten thousand directories are looked through less often.
DISCOVER_SHARE = 0.01

Clock = Callable[[], float]


def _never() -> bool:
    return False


class Sink(Protocol):
    """Where snapshots go: the exporter."""

    def publish(self, snapshot: Snapshot) -> None:
        """Show this snapshot from now on."""

    def observe_loop(self, seconds: float) -> None:
        """A turn of all runs took so long."""


class Daemon:
    """All runs of one process.

    Args:
        config: The settings; `config.watch.paths` says what is read.
        store: Where the state is kept.
        listener: Told of every journal entry after it was saved.
        clock: Seconds since the epoch.

    Attributes:
        runs: The runs, by name.
        problems: What hinders the daemon as a whole, a sentence each.
        behind: The last turn ended before all was read.

    Raises:
        ConfigError: The key file cannot be used, or a format is not known.
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
        self.problems: list[str] = []
        self._uncontrolled: dict[str, str] = {}
        self._unsaved: dict[str, WatchedRun] = {}
        self._saved_at = time.perf_counter()
        self._save_seconds = 0.0
        self._next = 0  # the run that a broken-off turn goes on with
        self._round = (False, False)  # what it had found: anything to read, a run that is behind
        self.behind = False

    def discover(self) -> None:
        """Look for runs and logs that are new."""
        self._discovered_at = self._clock()
        found = discover(self._config.watch.paths)
        self.problems = list(found.problems)
        followed = {reader.path: name for name, watched in self.runs.items() for reader in watched.readers}
        for _, group in itertools.groupby(found.logs, key=lambda log: log.run):
            logs = list(group)
            known = {followed[log.path] for log in logs if log.path in followed}
            name = min(known) if known else self._name(logs)
            if name not in self.runs:
                self.runs[name] = WatchedRun(
                    name, [], self._control(name, logs[0]), self._config, self._store, self._listener, self._key
                )
            for log in logs:
                self.runs[name].add_log(log.path)
        if self._config.policy.mode in ("approve", "auto"):
            self.problems.extend(self._uncontrolled.values())

    def _name(self, logs: Sequence[Log]) -> str:
        """The name that the run of `logs` has had before, or one that no other run has.

        What discovery calls a run depends on the other runs that are there; what it is called in the journal must not.
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
        """The control directory of a new run; one that another run has is left to that."""
        control = Path(self._config.watch.control or log.control)
        for other, watched in self.runs.items():
            if watched.actuator is not None and watched.actuator.control.path == control:
                self._uncontrolled[name] = (
                    f"{name}: only watched, because run {other} commands the trainer of {control}"
                )
                return None
        return control

    def turn(self, stopped: Callable[[], bool] = _never, *, final: bool = False) -> bool:
        """Let runs take their turn, until all had it, TURN_SECONDS are over or `stopped` comes true.

        What was broken off is finished by the next call, which does not begin anew: where turns take long, runs that were
        just looked at must not be looked at again before the wait.

        Returns:
            Whether there was anything to read, or is anything that was not looked at.
        """
        progress, behind = self._round
        requests = self._requests()
        ends = time.perf_counter() + TURN_SECONDS
        runs = list(self.runs.values())[self._next :]
        self._next, self._round = 0, (False, False)
        for taken, watched in enumerate(runs):
            if stopped():
                break
            if taken and time.perf_counter() > ends:
                self._next, self._round = len(self.runs) - len(runs) + taken, (progress, behind)
                progress = behind = True
                break
            now = self._clock()
            asked = [request for request in requests.get(watched.name, ()) if not watched.is_answered(request)]
            progress |= watched.turn(now, final=final)
            behind |= watched.behind
            for request in asked:
                operator.handle(watched, request, self._config.policy, now)
            if asked:
                watched.save(now)
            if watched.unsaved:
                self._unsaved.setdefault(watched.name, watched)
        self._save_some()
        self.behind = behind
        return progress

    def _requests(self) -> dict[str, list[Request]]:
        try:
            return self._store.requests()
        except sqlite3.Error:
            for watched in self.runs.values():
                watched.counts["errors"]["not_saved"] += 1
            return {}

    def _save_some(self) -> None:
        """Save the runs that were not saved for longest, as many as there is time for, and those that are pressing."""
        now = time.perf_counter()
        self._save_seconds = min(MAX_SAVE_SECONDS, self._save_seconds + SAVE_SHARE * (now - self._saved_at))
        self._saved_at = now
        self._save(self._save_seconds)
        self._save_seconds -= time.perf_counter() - now

    def _save(self, seconds: float) -> None:
        ends = time.perf_counter() + seconds
        waiting = sorted(self._unsaved.values(), key=lambda watched: not watched.pressing)
        for at in range(0, len(waiting), SAVED_TOGETHER):
            together = waiting[at : at + SAVED_TOGETHER]
            if not together[0].pressing and (seconds <= 0 or time.perf_counter() > ends):
                break
            save_together(self._store, together, self._clock())
            if together[0].unsaved:  # the disk refuses
                break
        self._unsaved = {name: watched for name, watched in self._unsaved.items() if watched.unsaved}

    def save(self) -> None:
        """Save all that is not saved."""
        self._save(float("inf"))

    def read_all(self, *, final: bool = False, tell: Callable[[], object] = lambda: None) -> None:
        """Take turns until there is nothing more to read, and save; `tell` is called after each."""
        while self.turn(final=final):
            tell()
        self.save()

    def run(self, waker: Waker, sink: Sink) -> None:
        """Take turns until the waker is stopped."""
        unheard, discovering = False, 0.0
        while True:
            began = time.perf_counter()
            if self._clock() - self._discovered_at >= max(DISCOVER_SECONDS, discovering / DISCOVER_SHARE):
                self.discover()
                discovering = time.perf_counter() - began
                unheard = True
            self.turn(lambda: waker.stopped)
            if unheard and not self.behind:  # who is behind needs no hint
                waker.watch(self._directories())
                unheard = False
            sink.publish(self.snapshot())
            sink.observe_loop(time.perf_counter() - began)
            if waker.stopped or not (self.behind or waker.wait()):
                break
        self._save(LAST_SAVE_SECONDS)

    def wait_for_input(self) -> bool:
        """Wait for more of standard input. -> whether it is read and has not ended."""
        tails = (reader.tail for watched in self.runs.values() for reader in watched.readers)
        open_input = next((tail for tail in tails if isinstance(tail, Stdin) and not tail.ended), None)
        if open_input is not None:
            open_input.wait(self._config.daemon.poll_seconds)
        return open_input is not None

    def _directories(self) -> set[Path]:
        logs = {reader.path.parent for watched in self.runs.values() for reader in watched.readers}
        logs.discard(STDIN.parent)
        controls = {w.actuator.control.path for w in self.runs.values() if w.actuator is not None}
        return logs | controls

    def snapshot(self) -> Snapshot:
        """What the outside may see."""
        now = self._clock()
        return Snapshot(now, tuple(watched.status(now) for watched in self.runs.values()))

    def close(self) -> None:
        """Let go of all logs."""
        for watched in self.runs.values():
            watched.close()


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
