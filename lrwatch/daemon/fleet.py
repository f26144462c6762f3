"""The runs of a daemon: found below the watched paths, named, set aside after a fault, and tried again."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from lrwatch import formats
from lrwatch.config import Config
from lrwatch.core.life import OVER
from lrwatch.core.snapshot import FaultKind, RunStatus, Snapshot
from lrwatch.daemon.bulkhead import Bulkheads, said
from lrwatch.daemon.watched_run import Listener, WatchedRun
from lrwatch.errors import ConfigError
from lrwatch.protocol import ProtocolError, read_key
from lrwatch.sources.discover import Log, discover
from lrwatch.store import Store

# The series of a lost run stay so many times as long as those of one that has ended.
LOST_TIMES = 24


class Fleet:
    """All runs of one daemon.

    Args:
        config: The settings; `config.watch.paths` says where runs are.
        store: Where the state is kept.
        listener: Called with every journal entry after it was saved.
        clock: Seconds since the epoch.
        monotonic: Seconds that never go back.

    Attributes:
        runs: The runs, by name, without those that are set aside.
        bulkheads: The faults of the runs, and the runs that are set aside.
        problems: Problems of the search, a sentence each.
        paths_up: Whether something to read was found there, by the watched path as it was given.

    Raises:
        ConfigError: The key file cannot be used, or there is no such format.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        listener: Listener,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._config = config
        self._store = store
        self._listener = listener
        self._clock = clock
        self._monotonic = monotonic
        self._key = _read_key(config.daemon.key_file)
        if config.watch.reading != "auto":
            formats.by_name(config.watch.reading)
        self.runs: dict[str, WatchedRun] = {}
        self.bulkheads = Bulkheads(monotonic)
        self.problems: list[str] = []
        self.paths_up: dict[str, bool] = {}
        self._uncontrolled: dict[str, str] = {}
        self._missing: set[str] = set()  # the runs without a file at the last search

    def discover(self) -> None:
        """Search the watched paths for new runs and logs. A search that fails leaves the runs as they are."""
        try:
            found = discover(self._config.watch.paths, self._config.watch.control)
        except Exception as error:  # noqa: BLE001  the runs that are known go on
            self.paths_up = dict.fromkeys(self._config.watch.paths, False)
            self.problems = [f"the search for runs: {said('turn', error)}"]
            return
        self.paths_up = dict(found.up)
        self.problems = list(found.problems)
        followed = {reader.path: name for name, run in self.runs.items() for reader in run.logs.readers}
        followed |= {path: name for name, aside in self.bulkheads.aside.items() for path in aside.logs}
        for _, group in itertools.groupby(found.logs, key=lambda log: log.run):
            logs = list(group)
            names = {followed[log.path] for log in logs if log.path in followed}
            try:
                name = min(names) if names else self._name(logs)
            except sqlite3.Error as error:
                self.problems.append(f"{logs[0].path}: the state cannot be read ({error}); it is tried again")
                continue
            self._watch(name, [log.path for log in logs], logs[0])
        self._remove_missing({log.path for log in found.logs})
        if self._config.policy.mode in ("approve", "auto"):
            self.problems.extend(self._uncontrolled.values())

    def _watch(self, name: str, logs: list[Path], log: Log | None = None, control: Path | None = None) -> None:
        """Watch the logs of a run, a new one or one that is known.

        Args:
            name: Name of the run.
            logs: Its logs.
            log: One of them, of which a new run takes its control directory. None where that is given.
            control: The control directory of a run that was set aside.
        """
        if (aside := self.bulkheads.aside.get(name)) is not None:
            aside.logs = logs
            return
        run = self.runs.get(name)
        if run is None and log is not None:
            control = self._control(name, log)
        try:
            if run is None:
                run = self.runs[name] = WatchedRun(
                    name,
                    [],
                    control,
                    self._config,
                    self._store,
                    self._listener,
                    self._key,
                    journals_settings=True,
                    monotonic=self._monotonic,
                )
            for path in logs:
                run.add_log(path)
        except Exception as error:  # noqa: BLE001  a state of another version, or a damaged one
            if run is not None:
                self.set_aside(run, "state", error, logs)
            else:
                status = RunStatus(name, self._config.policy.mode)
                self.bulkheads.set_aside(status, "state", error, logs=logs, control=control)

    def _remove_missing(self, found: set[Path]) -> None:
        """Remove the runs whose files are gone, if they were gone at the last search too: a network file system hides some at times."""
        logs = {name: [reader.path for reader in run.logs.readers] for name, run in self.runs.items()}
        logs |= {name: aside.logs for name, aside in self.bulkheads.aside.items()}
        with contextlib.suppress(sqlite3.Error):  # those of before the daemon began are looked at the next time then
            for name in self._store.statuses().keys() - logs.keys():
                logs[name] = [Path(path) for path in self._store.logs(name)]
        missing = {name for name, paths in logs.items() if paths and found.isdisjoint(paths) and _all_gone(paths)}
        for name in missing & self._missing:
            self._remove(name)
        self._missing = missing

    def _remove(self, name: str) -> None:
        """Remove a run. Its state and its journal stay in the store: when its files come back, it goes on."""
        self.bulkheads.aside.pop(name, None)
        if (run := self.runs.get(name)) is not None:
            try:
                run.remove(self._clock())
            except Exception as error:  # noqa: BLE001  a fault of one run must not end the others
                self.set_aside(run, "save", error)
                return
            del self.runs[name]
            with contextlib.suppress(OSError):
                run.close()
        self._uncontrolled.pop(name, None)
        with contextlib.suppress(sqlite3.Error):  # it is shown as removed, then
            self._store.drop_status(name)

    def set_aside(self, run: WatchedRun, kind: FaultKind, error: Exception, logs: list[Path] | None = None) -> None:
        """Drop a run after a fault; it is made again from its saved state."""
        now = self._clock()
        try:
            status = run.status(now)
        except Exception:  # noqa: BLE001  the first fault is the one to report
            status = RunStatus(run.name, self._config.policy.mode)
        logs = logs if logs is not None else [reader.path for reader in run.logs.readers]
        self.bulkheads.set_aside(status, kind, error, logs=logs, control=run.control)
        del self.runs[run.name]
        with contextlib.suppress(OSError):  # of a file that is given up anyway
            run.close()
        with contextlib.suppress(sqlite3.Error):  # `status` shows it a little later then
            self._store.save_status(run.name, self._aside_status(run.name).as_json())

    def _aside_status(self, name: str) -> RunStatus:
        return self.bulkheads.counted(self.bulkheads.aside[name].status)

    def _name(self, logs: Sequence[Log]) -> str:
        """Return the name under which the store has the run of `logs`, or one that no other run has.

        The name that discovery gives depends on the other runs that it finds; the name in the journal must not.
        """
        for log in logs:
            if (name := self._store.run_of(str(log.path))) is not None:
                return name
        name = os.fsencode(logs[0].run).decode("utf-8", "backslashreplace")
        taken = {*self.runs, *self.bulkheads.aside, *self._store.runs()}
        if given := self._config.run.name:
            name = f"{given}/{name}" if given in taken else given
        for part in reversed(logs[0].control.parent.parts[1:]):
            if name not in taken:
                return name
            if not name.startswith(f"{part}/") and name != part:
                name = f"{part}/{name}"
        return name if name not in taken else str(logs[0].path)

    def _control(self, name: str, log: Log) -> Path | None:
        """Return the control directory of a new run, or None where another run has it already."""
        control = Path(self._config.watch.control or log.control)
        controls = {other: run.control for other, run in self.runs.items()}
        controls |= {other: aside.control for other, aside in self.bulkheads.aside.items()}
        for other, taken in controls.items():
            if taken == control:
                self._uncontrolled[name] = (
                    f"{name}: only watched, because run {other} commands the trainer of {control}"
                )
                return None
        return control

    def unheard(self) -> list[str]:
        """Return the trainers whose messages cannot be used, a sentence each."""
        found = []
        for name, run in self.runs.items():
            reconciler = run.commands.reconciler
            # Where no log can be read either, that is what the run says.
            if reconciler is not None and reconciler.control.problem and not run.logs.problem:
                found.append(f"{name} (control): {reconciler.control.problem}")
        return found

    @property
    def save_problem(self) -> str:
        """The reason why the state cannot be saved, as a sentence, or ""."""
        return next((run.view.save_problem for run in self.runs.values() if run.view.save_problem), "")

    def try_again(self) -> None:
        """Take up the runs whose time has come since they were set aside."""
        for name, aside in self.bulkheads.due().items():
            self._watch(name, aside.logs, control=aside.control)

    def snapshot(self, now: float) -> Snapshot:
        """Return the status of all runs at `now`, in seconds since the epoch, without those that ended long ago."""
        keep = self._config.export.keep_ended
        shown: list[RunStatus] = []
        for run in list(self.runs.values()):
            try:
                shown.append(self.bulkheads.counted(run.status(now)))
            except Exception as error:  # noqa: BLE001, PERF203  a fault of one run must not end the others
                self.set_aside(run, "status", error)
        shown += [self._aside_status(name) for name in self.bulkheads.aside]
        shown = [run for run in shown if not _has_left(run, now, keep)]
        return Snapshot(now, tuple(shown), dict(self.paths_up), self.save_problem)


def _all_gone(paths: Sequence[Path]) -> bool:
    """Whether none of these files is there; one that cannot be looked at may be. A directory in the place of a file is none."""
    for path in paths:
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return False
        if not path.is_dir():
            return False
    return True


def _has_left(run: RunStatus, now: float, keep_ended: float) -> bool:
    """Whether a run ended so long ago that its series are no longer served."""
    if run.life not in OVER or run.life_since is None:
        return False
    return now - run.life_since > keep_ended * (LOST_TIMES if run.life == "lost" else 1)


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
