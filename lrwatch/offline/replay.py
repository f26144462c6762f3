"""Replay of finished logs through the daemon's own path, without waiting, saved state or commands to a trainer."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from lrwatch.config import Config
from lrwatch.daemon.watched_run import Listener, WatchedRun
from lrwatch.errors import InputError
from lrwatch.sources.discover import discover
from lrwatch.sources.reader import must_be_readable
from lrwatch.store import Store

ShowProgress = Callable[[int, int], object]
"""Called from time to time with the number of bytes read and left."""


def _silent(_read: int, _left: int) -> None:
    pass


class FinishedRun(NamedTuple):
    """A run to be replayed: its name, and all its logs."""

    name: str
    logs: tuple[Path, ...]

    @property
    def path(self) -> str:
        """The log, or the directory around all of them."""
        return str(self.logs[0]) if len(self.logs) == 1 else os.path.commonpath(self.logs)


def finished_runs(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[FinishedRun], tuple[str, ...]]:
    """Find the runs below `paths` as a daemon does, and return them and the problems, a sentence each."""
    found = discover(paths)
    groups = itertools.groupby(found.logs, key=lambda log: log.run)
    return [FinishedRun(name, tuple(log.path for log in logs)) for name, logs in groups], found.problems


def runs_at(path: Path) -> list[FinishedRun]:
    """Return the run of one file, or those in a directory.

    Raises:
        InputError: The file cannot be read, or no log is in the directory.
    """
    if not path.is_dir():
        must_be_readable(path)
        return [FinishedRun(path.stem, (path,))]
    runs, problems = finished_runs([path])
    if not runs:
        raise InputError(
            expected="a directory with logs",
            found=problems[0] if problems else "none",
            where=str(path),
            hint=f"`lrwatch init {path} --dry-run` says what is in its files.",
        )
    return runs


def replay_run(run: FinishedRun, config: Config, listener: Listener, show: ShowProgress = _silent) -> WatchedRun:
    """Feed the finished logs of a run to the pipeline.

    Args:
        run: The run.
        config: The settings.
        listener: Called with a journal entry for every event.
        show: Called from time to time with the number of bytes read and left.

    Returns:
        The run at the end of its logs.

    Raises:
        InputError: A log cannot be read, none can be understood, or the metric is in none.
    """
    for log in run.logs:
        must_be_readable(log)
    store = Store(None)
    watched = WatchedRun(run.name, run.logs, None, config, store, listener)
    try:
        while watched.turn(0.0, final=True):
            status = watched.status(0.0)
            show(status.bytes, status.lag_bytes)
    finally:
        watched.close()
        store.close()
    if (problem := watched.problem) or not watched.logs.ingest["samples"]:
        raise InputError(
            expected=f"metric {config.metric!r}" if config.metric else "a training log with a loss",
            found=problem or "nothing that could be understood",
            where=run.path,
            hint="`lrwatch read FILE` shows what is in it; name a metric with --metric.",
        )
    return watched


def replay_file(file: Path, config: Config, listener: Listener, show: ShowProgress = _silent) -> WatchedRun:
    """Feed one finished log to the pipeline: see `replay_run`.

    Args:
        file: The log.
        config: The settings.
        listener: Called with a journal entry for every event.
        show: Called from time to time with the number of bytes read and left.

    Returns:
        The run at the end of the log.

    Raises:
        InputError: The file cannot be read or understood, or the metric is not in it.
    """
    return replay_run(FinishedRun(file.stem, (file,)), config, listener, show)


def end_states(run: WatchedRun) -> list[dict[str, Any]]:
    """Return where each watched metric of a replayed run stands, as events of the form of the journal; the deciding one first."""
    metrics = sorted(run.pipeline.metrics.statuses(), key=lambda metric: metric.name != run.pipeline.metric)
    return [
        {
            "event": "state",
            "run": run.name,
            "metric": metric.name,
            "step": metric.step,
            "state": metric.state,
            "since": metric.since,
            "tells_at": metric.tells_at,
            "decides": metric.name == run.pipeline.metric,
            "message": metric.words,
        }
        for metric in metrics
        if metric.watched
    ]
