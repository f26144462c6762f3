"""The logs of a run that a daemon knows, to be read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lrwatch.config import Config
from lrwatch.core.sample import Batch
from lrwatch.daemon.logs import RunLogs
from lrwatch.sources.log_identity import log_of
from lrwatch.store import Store


def logs_in_order(store: Store, run: str) -> list[Path]:
    """Return the logs of a run in the store, in the order in which its daemon found them."""
    known = RunLogs(run, "auto", store)
    if (saved := store.load_run(run)) is not None:
        known.restore(saved["logs"])
    place = {name: i for i, name in enumerate(known.ownership.sources)}
    paths = [Path(path) for path in store.logs(run)]
    return sorted(paths, key=lambda path: (place.get(log_of(path), len(place)), str(path)))


def batches(logs: Iterable[Path], config: Config, run: str = "") -> Iterator[tuple[Batch, bool]]:
    """Read logs as a daemon does.

    Args:
        logs: The logs of one run, in order.
        config: Their format, and the metric that decides.
        run: The run's name.

    Yields:
        The samples that count, and whether the run starts over with them, on another axis.
    """
    memory = Store(None)
    reader = RunLogs(run, config.watch.reading, memory, metric=config.metric or None)
    for path in logs:
        reader.add(path)
    try:
        read = True
        while read:
            read = False
            for batch in reader.read(final=True):
                read = True
                yield batch, reader.anew
    finally:
        reader.close()
        memory.close()
