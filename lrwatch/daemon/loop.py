"""The daemon's loop: wake, let every run take its turn, publish what is seen. `replay` is the same loop without the waiting."""

from __future__ import annotations

import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

from lrwatch import formats
from lrwatch.config import Config
from lrwatch.core.snapshot import RunStatus, Snapshot
from lrwatch.daemon import operator
from lrwatch.daemon.wake import Waker
from lrwatch.daemon.watched import Listener, Watched
from lrwatch.errors import ConfigError
from lrwatch.protocol import ProtocolError, read_key
from lrwatch.sources.discover import Log, discover
from lrwatch.store import Store

# How often new files and directories are looked for; a new run is worth a short wait, a directory of 10,000 files is
# not worth a scan a second.
DISCOVER_SECONDS = 5.0

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
        act: Whether trainers are commanded; `replay` only reads.
        clock: Seconds since the epoch.

    Raises:
        ConfigError: The key file cannot be used, or a format is not known.
    """

    def __init__(
        self, config: Config, store: Store, listener: Listener, *, act: bool = True, clock: Clock = time.time
    ) -> None:
        self._config = config
        self._store = store
        self._listener = listener
        self._act = act
        self._clock = clock
        self._key = _read_key(config.daemon.key_file)
        if config.watch.format != "auto":
            formats.by_name(config.watch.format)
        self._discovered_at = float("-inf")
        self.runs: dict[str, Watched] = {}
        self.problems: list[str] = []
        self._uncontrolled: dict[str, str] = {}
        self._shown: dict[str, RunStatus] = {}

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
                self.runs[name] = Watched(
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
        if not self._act:
            return None
        control = Path(self._config.watch.control or log.control)
        for other, watched in self.runs.items():
            if watched.actuator is not None and watched.actuator.control.path == control:
                self._uncontrolled[name] = (
                    f"{name}: only watched, because run {other} commands the trainer of {control}"
                )
                return None
        return control

    def turn(self, stopped: Callable[[], bool] = _never, *, final: bool = False) -> bool:
        """Let every run take its turn, unless `stopped` comes true. -> whether there was anything to read."""
        progress = False
        for watched in self.runs.values():
            if stopped():
                break
            now = self._clock()
            progress |= watched.turn(now, final=final)
            if requests := watched.requests():
                for request in requests:
                    operator.handle(watched, request, self._config.policy, now)
                watched.save(now)
            self._save_status(watched, now)
        return progress

    def _save_status(self, watched: Watched, now: float) -> None:
        status = replace(watched.status(now), pending_seconds=0.0)  # an age is not news
        if not self._act or status == self._shown.get(watched.name):
            return
        try:
            self._store.save_status(watched.name, asdict(status))
        except sqlite3.Error:
            watched.counts["errors"]["not_saved"] += 1
        else:
            self._shown[watched.name] = status

    def read_all(self, *, final: bool = False) -> None:
        """Take turns until there is nothing more to read."""
        while self.turn(final=final):
            pass

    def run(self, waker: Waker, sink: Sink) -> None:
        """Take turns until the waker is stopped."""
        while True:
            began = time.perf_counter()
            if self._clock() - self._discovered_at >= DISCOVER_SECONDS:
                self.discover()
                waker.watch(self._directories())
            progress = self.turn(lambda: waker.stopped)
            sink.publish(self.snapshot())
            sink.observe_loop(time.perf_counter() - began)
            if waker.stopped or not (progress or waker.wait()):
                return

    def _directories(self) -> set[Path]:
        logs = {reader.path.parent for watched in self.runs.values() for reader in watched.readers}
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
