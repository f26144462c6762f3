"""The series of the runs in a file, for the textfile collector of node_exporter, where nobody can scrape a daemon."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from lrwatch.core.snapshot import Snapshot
from lrwatch.export.collector import MAX_SERIES, RunCollector

# Prometheus scrapes node_exporter every quarter of a minute or less often.
WRITE_SECONDS = 15.0

NAME = "lrwatch.prom"


class Textfile:
    """File that always holds a whole exposition. The daemon itself and its process are left out: node_exporter has series of these names.

    Args:
        target: The file, which ends in `.prom`, or the directory for `lrwatch.prom`. A directory that is not there is made.
        max_series: Series in it at the most.
        clock: Monotonic seconds.

    Attributes:
        path: The file.
        problem: Why it could not be written the last time, as a sentence, or "".
    """

    def __init__(
        self, target: str, *, max_series: int = MAX_SERIES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = Path(target) if target.endswith(".prom") else Path(target) / NAME
        self.problem = ""
        self._clock = clock
        self._written_at: float | None = None
        self._swept = False
        self._runs = RunCollector(max_series, of_runs_only=True)
        self._registry = CollectorRegistry()
        self._registry.register(self._runs)

    def publish(self, snapshot: Snapshot) -> None:
        """Write this snapshot, unless the last one was written less than WRITE_SECONDS ago."""
        now = self._clock()
        if self._written_at is not None and now - self._written_at < WRITE_SECONDS:
            return
        self._written_at = now
        self._runs.publish(snapshot)
        try:
            self._write(generate_latest(self._registry))
        except OSError as error:
            self.problem = f"textfile: {self.path} cannot be written: {error.strerror or error}; it is tried again"
        else:
            self.problem = ""

    def _write(self, content: bytes) -> None:
        """Write the file completely or not at all, readable for everybody, as node_exporter is another user."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self._swept:
            self._swept = True
            for left in self.path.parent.glob(f".{self.path.name}.*"):  # by a daemon that was killed while it wrote
                with suppress(OSError):
                    left.unlink()
        # The collector reads only what ends in .prom, so never half of this.
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(name).chmod(0o644)
            Path(name).replace(self.path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise

    def close(self) -> None:
        """Remove the file, so that the series of an ended daemon disappear as they do where it is scraped."""
        with suppress(OSError):  # it is gone, or its age tells that nobody writes it
            self.path.unlink()
