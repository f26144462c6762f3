"""One decision, computed again from the logs on which it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrwatch.config import Config
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.store import Entry, Store

# Two events with the same values under these keys are the same decision.
_IDENTITY = ("event", "kind", "metric", "step", "scale")


def explain(store: Store, run: str, entry: Entry, config: Config) -> tuple[dict[str, Any] | None, str]:
    """Compute a decision again, by feeding the logs of its run to a fresh pipeline.

    Args:
        store: The daemon's state, which names the logs.
        run: The run's name.
        entry: The journal entry of the decision.
        config: The settings.

    Returns:
        The event that is the same decision, or None; and a verdict in words.
    """
    if entry.event["event"] not in ("finding", "command"):
        return None, "This entry records what happened; only findings and commands are computed."
    events: list[dict[str, Any]] = []
    memory = Store(None)
    logs = [Path(path) for path in store.logs(run)]
    fresh = WatchedRun(run, logs, None, config, memory, lambda entry: events.append(entry.event))
    try:
        while fresh.turn(0.0, final=True):
            pass
    finally:
        fresh.close()
        memory.close()
    wanted = [entry.event.get(key) for key in _IDENTITY]
    again = next((event for event in events if [event.get(key) for key in _IDENTITY] == wanted), None)
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
