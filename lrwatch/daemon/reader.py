"""One log of one run: bytes from a `Tail`, samples from a `Format`, and the state of both for a restart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrwatch import formats
from lrwatch.core.sample import Batch
from lrwatch.formats.base import Format
from lrwatch.sources.tail import Tail

# Bytes a read: large enough for the block parsers to be fast, small enough to stop within a second and to stay in cache.
CHUNK_BYTES = 2 * 1024 * 1024


class LogReader:
    """Reads a log as it grows.

    Args:
        path: The log.
        format_name: "auto", or the name of a format.
        state: From `state`, to go on where an earlier reader stopped.

    Raises:
        ConfigError: No format has that name.
    """

    def __init__(self, path: Path, format_name: str = "auto", state: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self._format_name = format_name
        self._format: Format | None = None
        self.tail = Tail(path, state=None if state is None else state["tail"])
        if state is not None and state["format"] is not None:
            self._format = formats.restore(state["format"], state["format_state"])
        elif format_name != "auto":
            self._format = formats.by_name(format_name)

    @property
    def format(self) -> str | None:
        """Name of the format, or None while it is not known."""
        return None if self._format is None else self._format.name

    def read(self, *, final: bool = False) -> tuple[Batch, int] | None:
        """The next samples and the bytes they took, or None when there is nothing new.

        Args:
            final: The log is complete: its last line counts even without an end, and its format is decided now.
        """
        chunk = self.tail.read(CHUNK_BYTES)
        if chunk.anew:
            self._format = formats.by_name(self._format_name) if self._format_name != "auto" else None
        if not chunk.data:
            return None
        last = chunk.last or (final and len(chunk.data) == self.tail.lag)
        if self._format is None:
            self._format = formats.detect(chunk.data, final=last)
            if self._format is None:
                return None
        batch, used = self._format.feed(chunk.data, final=last)
        if used == 0:
            return None
        self.tail.consume(used)
        return batch, used

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {
            "tail": self.tail.state(),
            "format": self.format,
            "format_state": None if self._format is None else self._format.state(),
        }

    def close(self) -> None:
        """Let go of the file."""
        self.tail.close()
