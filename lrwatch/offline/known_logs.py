"""The logs of a run that a daemon knows, for those who read them again."""

from __future__ import annotations

from pathlib import Path

from lrwatch.sources.log_identity import log_of
from lrwatch.store import Store


def logs_in_order(store: Store, run: str) -> list[Path]:
    """Return the logs of a run in the store, in the order in which its daemon came to know them."""
    saved = store.load_run(run)
    ownership = {} if saved is None else saved["logs"].get("ownership", {})  # an older lrwatch saved none
    known = list(ownership.get("sources", ()))
    place = {name: i for i, name in enumerate(known)}
    paths = [Path(path) for path in store.logs(run)]
    return sorted(paths, key=lambda path: (place.get(log_of(path), len(place)), str(path)))
