"""The daemon's loop: wake, let every run take its turn, publish what is seen. `replay` is the same loop without the waiting."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

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
        self._discovered_at = float("-inf")
        self.runs: dict[str, Watched] = {}
        self.problems: list[str] = []
        self._shown: dict[str, RunStatus] = {}

    def discover(self) -> None:
        """Look for runs and logs that are new."""
        self._discovered_at = self._clock()
        found = discover(self._config.watch.paths)
        self.problems = list(found.problems)
        for log in found.logs:
            if (watched := self.runs.get(log.run)) is not None:
                watched.add_log(log.path)
            else:
                same = [other.path for other in found.logs if other.run == log.run]
                self.runs[log.run] = Watched(
                    log.run, same, self._control(log), self._config, self._store, self._listener, self._key
                )

    def _control(self, log: Log) -> Path | None:
        if not self._act:
            return None
        return Path(self._config.watch.control) if self._config.watch.control else log.control

    def turn(self, *, final: bool = False) -> bool:
        """Let every run take its turn. -> whether there was anything to read."""
        progress = False
        for name, watched in self.runs.items():
            now = self._clock()
            for request in self._store.requests(name):
                answer = operator.handle(watched, request, self._config.policy, now)
                watched.save(now)
                self._store.answer(request.id, answer)
            progress |= watched.turn(now, final=final)
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

    def read_all(self, stopped: Callable[[], bool] = lambda: False, *, final: bool = False) -> None:
        """Take turns until there is nothing more to read."""
        while not stopped() and self.turn(final=final):
            pass

    def run(self, waker: Waker, sink: Sink) -> None:
        """Take turns until the waker is stopped."""
        while True:
            began = time.perf_counter()
            if self._clock() - self._discovered_at >= DISCOVER_SECONDS:
                self.discover()
                waker.watch(self._directories())
            progress = self.turn()
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
