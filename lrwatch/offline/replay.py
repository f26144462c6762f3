"""A finished log through the daemon's own path: no waiting, no state kept, no trainer commanded."""

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
    """Feed `file` to the pipeline. -> the run as it stands at the end.

    Args:
        file: The log.
        config: The settings.
        listener: Told of every event.
        show: Told, from time to time, how many bytes were read and how many are left.

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
