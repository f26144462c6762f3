"""Recompute one decision from the logs that it was made on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrwatch.config import Config
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.store import Entry, Store

# Keys that are equal in two entries of the same decision.
_SAME = ("event", "kind", "metric", "step", "scale")


def explain(store: Store, run: str, entry: Entry, config: Config) -> tuple[dict[str, Any] | None, str]:
    """Feed the logs of a run to a fresh pipeline, and find a decision again.

    Args:
        store: The store of the daemon.
        run: Name of the run.
        entry: The journal entry of the decision.
        config: The settings.

    Returns:
        The recomputed event, or None where it does not come out again, and a verdict in words.
    """
    found: list[dict[str, Any]] = []
    memory = Store(None)
    logs = [Path(path) for path in store.logs(run)]
    watched = WatchedRun(run, logs, None, config, memory, lambda entry: found.append(entry.event))
    try:
        while watched.turn(0.0, final=True):
            pass
    finally:
        watched.close()
        memory.close()
    wanted = [entry.event.get(key) for key in _SAME]
    again = next((event for event in found if [event.get(key) for key in _SAME] == wanted), None)
    if entry.event["event"] not in ("finding", "command"):
        return None, "This entry records what happened; only findings and commands are computed."
    if again is None:
        missing = [str(path) for path in logs if not path.exists()]
        if missing:
            return None, f"It cannot be computed again: {', '.join(missing)} is gone."
        return None, (
            "It does not come out of the logs alone: they were changed since, other settings were used, or a learning-rate "
            "change before it is not visible in them."
        )
    same = again.get("evidence") == entry.event.get("evidence") and again.get("reason") == entry.event.get("reason")
    return again, "Computed again: the same numbers." if same else "Computed again: the numbers differ."
