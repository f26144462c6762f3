"""The daemon's loop: wake, give every run its turn, publish a snapshot. `replay` is the same turn without the waiting.

A fault of one run ends nothing else: each call into a run is guarded, and a fault sets the run aside. That is why
exceptions of every kind are caught here and in `fleet`, and in no other file of the daemon.

One file because a turn is read from top to bottom.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from lrwatch.config import Config
from lrwatch.core.snapshot import Snapshot
from lrwatch.daemon import operator
from lrwatch.daemon.fleet import Fleet
from lrwatch.daemon.inbox import Inbox
from lrwatch.daemon.wake import Waker
from lrwatch.daemon.watched_run import Listener, WatchedRun, save_together
from lrwatch.errors import InputError
from lrwatch.protocol import ProtocolError
from lrwatch.sources.stdin import STDIN, Stdin
from lrwatch.store import Request, StateGoneError, Store

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

# Seconds between two saves of the picture of a run, and for saving all of them at the end. A daemon that is killed forgets at the
# most so much of a picture, and of nothing else.
PICTURE_SECONDS = 300.0
LAST_PICTURES_SECONDS = 0.4

# Share of the time that may go into the search for new files: ten thousand directories are searched less often.
DISCOVER_SHARE = 0.01

# Share of the time that may go into what /metrics shows: with a thousand runs a new snapshot comes every few seconds.
PUBLISH_SHARE = 0.02

# Longest time between two snapshots on that account: a scraper comes every fifteen seconds.
MAX_PUBLISH_SECONDS = 4.0

# The clock was set when it has moved by so many seconds against the monotonic one since the turn before. What keeps it right moves it by
# less than a millisecond a second.
CLOCK_STEP_SECONDS = 1.0

# Seconds until the rotation of the journal is tried again after it failed.
ROTATE_AGAIN_SECONDS = 60.0

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
        monotonic: Seconds that never go back, for intervals. A clock that is given serves for them too.

    Attributes:
        fleet: The runs, those that are set aside, and what the search for them found.
        inbox: Requests of operators that came over the socket.
        behind: Whether the last turn ended before all was read.

    Raises:
        ConfigError: The key file cannot be used, or there is no such format.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        listener: Listener,
        *,
        clock: Clock = time.time,
        monotonic: Clock | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._listener = listener
        self._clock = clock
        self._monotonic = monotonic = monotonic or (time.monotonic if clock is time.time else clock)
        self.fleet = Fleet(config, store, listener, clock=clock, monotonic=monotonic)
        self._discovered_at = float("-inf")
        self.inbox = Inbox()
        self._unsaved: dict[str, WatchedRun] = {}
        self._saved_at = time.perf_counter()
        self._save_seconds = 0.0
        self._rotate_from = float("-inf")
        self._rotation_problem = ""
        self._pictured_at: dict[str, float] = {}  # when the picture of a run was saved, on the monotonic clock
        self._next = 0  # index of the run at which an interrupted turn continues
        self._round = (False, False)  # its results until then: anything was read, a run is behind
        self.behind = False
        self._clock_ahead = clock() - monotonic()  # of the monotonic clock, at the last turn

    @property
    def runs(self) -> dict[str, WatchedRun]:
        """The runs, by name, without those that are set aside."""
        return self.fleet.runs

    @property
    def problems(self) -> list[str]:
        """Problems of the daemon as a whole, and of trainers that cannot be heard, a sentence each."""
        state = f"state: {problem}" if (problem := self.fleet.save_problem) else ""
        own = [problem for problem in (state, self._store.journal_problem, self._rotation_problem) if problem]
        return [*own, *self.fleet.problems, *self.fleet.unheard()]

    def discover(self) -> None:
        """Search the watched paths for new runs and logs."""
        self._discovered_at = self._monotonic()
        self.fleet.discover()
        self._pictured_at = {name: at for name, at in self._pictured_at.items() if name in self.runs}

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
        self._follow_clock()
        self.fleet.try_again()
        progress, behind = self._round
        requests = self._requests()
        ends = time.perf_counter() + TURN_SECONDS
        runs = list(self.runs.values())[self._next :]
        had = self._next
        self._next, self._round = 0, (False, False)
        for taken, run in enumerate(runs):
            if stopped():
                break
            if taken and time.perf_counter() > ends:
                self._next, self._round = had, (progress, behind)
                progress = behind = True
                break
            progress |= self._turn_of(run, requests.get(run.name, ()), final=final)
            if run.name in self.runs:  # else it was set aside
                had += 1
                behind |= run.logs.behind
                if run.unsaved:
                    self._unsaved.setdefault(run.name, run)
        self._save_some()
        self._save_pictures()
        self._rotate_journal()
        self.behind = behind
        return progress

    def _follow_clock(self) -> None:
        """Move what is kept as a time with a clock that was set: the time between two moments did not change."""
        ahead = self._clock() - self._monotonic()
        seconds, self._clock_ahead = ahead - self._clock_ahead, ahead
        if abs(seconds) >= CLOCK_STEP_SECONDS:
            for run in self.runs.values():
                run.clock_stepped(seconds)

    def apply(self, config: Config) -> None:
        """Watch and judge by other settings from now on: what a restart does, without an end of the process.

        Args:
            config: The settings.

        Raises:
            ConfigError: They cannot be used. The daemon goes on with those that it has.
            InputError: A run cannot be made again now, because its state cannot be saved. The same holds.
        """
        fleet = Fleet(config, self._store, self._listener, clock=self._clock, monotonic=self._monotonic)
        if any(isinstance(reader.tail, Stdin) for run in self.runs.values() for reader in run.logs.readers):
            raise InputError(
                expected="logs that can be opened again", found="standard input", where="the settings are not read again",
                hint="End lrwatch and start it with the new settings.",
            )  # fmt: skip
        self.save()
        if unsaved := [run.name for run in self.runs.values() if run.unsaved]:
            raise InputError(
                expected="runs whose state is saved", found=f"{len(unsaved)} that cannot be saved", where=str(self._store.path),
                hint="Make room on its disk, and send SIGHUP again.",
            )  # fmt: skip
        for run in self.runs.values():
            with contextlib.suppress(OSError):  # of a file that is given up anyway
                run.close()
        self._config, self.fleet = config, fleet
        self._unsaved = {}
        self._next, self._round = 0, (False, False)
        self.discover()

    def _turn_of(self, run: WatchedRun, requests: Sequence[Request], *, final: bool) -> bool:
        """Give one run its turn. Return whether there was anything to read."""
        now = self._clock()
        try:
            due = [request for request in requests if not run.is_answered(request)]
            progress = run.turn(now, final=final)
        except Exception as error:  # noqa: BLE001  a fault of one run must not end the others
            self.fleet.set_aside(run, "turn", error)
            return False
        if run.operators_wait:
            return progress
        for request in due:
            try:
                operator.handle(run, request, self._config.policy, now)
            except Exception as error:  # noqa: BLE001, PERF203  the same
                self._refuse(request, error)
                self.fleet.set_aside(run, "request", error)
                return progress
        if due:
            self._save_each([run])
        return progress

    def _refuse(self, request: Request, error: Exception) -> None:
        """Answer a request that ended in a fault, so that it is not tried for ever."""
        answer = {
            "done": False,
            "text": f"not done: {type(error).__name__}: {error}; see `lrwatch status {request.run}`",
        }
        if request.reply is not None:
            request.reply(answer)
            return
        with contextlib.suppress(sqlite3.Error):  # then it is tried again
            self._store.answer(request.id, answer)

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
        known = [run for run in self._unsaved.values() if self.runs.get(run.name) is run]  # else it was set aside
        waiting = sorted(known, key=lambda run: not run.logs.pressing)
        for at in range(0, len(waiting), SAVED_TOGETHER):
            together = waiting[at : at + SAVED_TOGETHER]
            if seconds <= 0 or time.perf_counter() > ends:
                together = [run for run in together if run.logs.pressing]
            if not together:
                break
            if not self._save_each(together):  # the disk refuses
                break
        self._unsaved = {run.name: run for run in known if run.unsaved}

    def _save_each(self, runs: Sequence[WatchedRun]) -> bool:
        """Save runs in one transaction, or one by one where the state of one of them is at fault.

        Returns:
            Whether the disk takes them.
        """
        try:
            save_together(self._store, runs, self._clock())
        except Exception as error:  # noqa: BLE001  the transaction is undone, so each can be tried alone
            if len(runs) == 1:
                self.fleet.set_aside(runs[0], "save", error)
                return True
            return all([self._save_each([run]) for run in runs])
        return not runs[0].unsaved

    def _save_pictures(self, seconds: float = 0.0) -> None:
        """Save the picture of one run that is due, or at the end of as many as there is time for."""
        now = self._monotonic()
        due = [
            run for run in self.runs.values()
            if run.picture.changed and (seconds > 0 or now - self._pictured_at.setdefault(run.name, now) >= PICTURE_SECONDS)
        ]  # fmt: skip
        ends = time.perf_counter() + seconds
        for run in due if seconds > 0 else due[:1]:
            self._pictured_at[run.name] = now
            with contextlib.suppress(sqlite3.Error):  # the disk refuses: only a picture is older than it could be
                self._store.save_picture(run.name, run.picture.saved())
            if time.perf_counter() > ends:
                break

    def _rotate_journal(self) -> None:
        """Move the oldest entries of the journal to files when there are too many, as long as there is time for it in a turn."""
        now = self._monotonic()
        if now < self._rotate_from:
            return
        try:
            while self._store.rotate_journal(self._config.journal) and self._monotonic() - now < TURN_SECONDS:
                pass
        except (OSError, ProtocolError, sqlite3.Error) as error:
            self._rotation_problem = f"journal: its oldest entries cannot be moved, so it grows: {error}"
            self._rotate_from = now + ROTATE_AGAIN_SECONDS
        else:
            self._rotation_problem = ""

    def save(self) -> None:
        """Save every run with unsaved state."""
        self._save(float("inf"))

    def read_all(self, *, final: bool = False, after_turn: Callable[[], object] = lambda: None) -> None:
        """Take turns until there is nothing more to read, and save; call `after_turn` after each."""
        while self.turn(final=final):
            after_turn()
        self.save()

    def run(self, waker: Waker, sink: Sink) -> None:
        """Take turns until the waker is stopped.

        Raises:
            InputError: The state was deleted or replaced.
        """
        hints_due, discovering, publish_from = False, 0.0, float("-inf")
        self._store.be_brief()
        while True:
            began = time.perf_counter()
            if self._monotonic() - self._discovered_at >= max(DISCOVER_SECONDS, discovering / DISCOVER_SHARE):
                self.discover()
                discovering = time.perf_counter() - began
                hints_due = True
            self.turn(lambda: waker.stopped)
            self._check_store()
            if hints_due and not self.behind:  # a daemon that is behind reads on without a hint
                waker.watch(self._directories())
                hints_due = False
            now = self._monotonic()
            if waker.stopped or now >= publish_from:
                sink.publish(self.snapshot())
                spent = self._monotonic() - now
                publish_from = now + min(spent / PUBLISH_SHARE, MAX_PUBLISH_SECONDS)
            sink.observe_loop(time.perf_counter() - began)
            if waker.stopped or not (self.behind or waker.wait()):
                break
        self._save(LAST_SAVE_SECONDS)
        self._save_pictures(LAST_PICTURES_SECONDS)

    def _check_store(self) -> None:
        """Check that what is saved is not lost.

        Raises:
            InputError: The state was deleted or replaced.
        """
        try:
            self._store.check()
        except StateGoneError as error:
            raise InputError(
                expected="the state that was opened at the start", found=f"that {error}", where=str(self._store.path),
                hint="lrwatch ends, and the trainings go on at their scale. Start it again: it begins a new state and reads the logs from their beginning.",
            ) from error  # fmt: skip

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
        try:
            entries = self._store.journal_length()
        except sqlite3.Error:  # the runs have reported it already
            entries = None
        return replace(self.fleet.snapshot(self._clock()), journal_entries=entries)

    def close(self) -> None:
        """Close all logs."""
        for run in self.runs.values():
            run.close()
