"""Replay a finished log on the daemon's own path: no waiting, no saved state, no command to a trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lrwatch.config import Config
from lrwatch.daemon.watched_run import Listener, WatchedRun
from lrwatch.errors import InputError
from lrwatch.sources.reader import must_be_readable
from lrwatch.store import Store


def replay_file(
    file: Path, config: Config, listener: Listener, show: Callable[[int, int], object] = lambda _done, _left: None
) -> WatchedRun:
    """Feed a finished log to the pipeline.

    Args:
        file: The log.
        config: The settings.
        listener: Called with every event.
        show: Called after each turn with the bytes that were read and the bytes that are left.

    Returns:
        The run at its end.

    Raises:
        InputError: The file cannot be read or understood, or the metric is not in it.
    """
    must_be_readable(file)
    store = Store(None)
    watched = WatchedRun(file.stem, [file], None, config, store, listener)
    try:
        while watched.turn(0.0, final=True):
            status = watched.status(0.0)
            show(status.bytes, status.lag_bytes)
    finally:
        watched.close()
        store.close()
    if (why := watched.why()) or not watched.counts["ingest"]["samples"]:
        raise InputError(
            expected=f"metric {config.watch.metric!r}" if config.watch.metric else "a training log with a loss",
            found=why or "nothing that could be understood",
            where=str(file),
            hint="`lrwatch read FILE` shows what is in it; name a metric with --metric.",
        )
    return watched
