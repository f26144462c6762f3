"""Replay of a finished log through the daemon's own path, without waiting, saved state or commands to a trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        listener: Called with a journal entry for every event.
        show: Called from time to time with the number of bytes read and left.

    Returns:
        The run at the end of the log.

    Raises:
        InputError: The file cannot be read or understood, or the metric is not in it.
    """
    must_be_readable(file)
    store = Store(None)
    run = WatchedRun(file.stem, [file], None, config, store, listener)
    try:
        while run.turn(0.0, final=True):
            status = run.status(0.0)
            show(status.bytes, status.lag_bytes)
    finally:
        run.close()
        store.close()
    if (problem := run.problem) or not run.logs.ingest["samples"]:
        raise InputError(
            expected=f"metric {config.metric!r}" if config.metric else "a training log with a loss",
            found=problem or "nothing that could be understood",
            where=str(file),
            hint="`lrwatch read FILE` shows what is in it; name a metric with --metric.",
        )
    return run


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
