"""A finished compressed log with the interface of a `Tail`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lrwatch.errors import InputError
from lrwatch.sources.compressed import Decompressed, open_log
from lrwatch.sources.file_identity import Action
from lrwatch.sources.tail import READ_BYTES, Chunk, Tail


class CompressedTail(Tail):
    """Read a complete compressed log with the interface of `Tail`. One that changed is read from its beginning.

    Args:
        path: The file.
        state: What `state` returned before a restart; consumed bytes are decompressed once more and skipped.

    Attributes:
        lag: Unconsumed decompressed bytes in memory, and the compressed ones behind them.
    """

    def __init__(self, path: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        super().__init__(path)
        self._version: tuple[int, ...] | None = tuple(state["file"]) if state and state["file"] else None
        self._offset: int = state["offset"] if state else 0
        self._log: Decompressed | None = None
        self._buffer = b""
        self._exhausted = False

    @property
    def offset(self) -> int:
        """Consumed decompressed bytes."""
        return self._offset

    def state(self) -> dict[str, Any]:
        """Return the JSON-plain state to continue from the first unconsumed byte after a restart."""
        return {"file": self._version and list(self._version), "offset": self._offset}

    def close(self) -> None:
        """Close the file. The next read opens it again."""
        if self._log is not None:
            self._log.close()
        self._log, self._buffer, self._exhausted, self._idle = None, b"", False, None

    def consume(self, count: int) -> None:
        """Mark the first `count` bytes of the last read as consumed.

        Raises:
            ValueError: The last read has fewer bytes.
        """
        if not 0 <= count <= len(self._data):
            raise ValueError(f"{count} bytes consumed of {len(self._data)} that were read")
        self._data, self._buffer = self._data[count:], self._buffer[count:]
        self._offset += count
        self.lag -= count
        if count:
            self._idle = None

    def _read(self, limit: int) -> Chunk:
        named = self._named()
        self._data = b""
        if named is None:
            if self._version is not None:
                self.problem = f"{self.path} was deleted or renamed; it is read as soon as it is there"
            return Chunk()
        version = (named.st_dev, named.st_ino, named.st_size, named.st_mtime_ns)
        if self._version is not None and version != self._version:
            self.close()
            self.rotations += version[:2] != self._version[:2]
            self.truncations += version[:2] == self._version[:2]
            self._offset, self._reset = 0, Action.REWRITTEN.value
        elif version == self._idle:
            return Chunk()
        self._version = version
        more = self._more(limit)
        self._data = self._buffer[:limit]
        self.at_end = more is None and len(self._data) == len(self._buffer)
        self._idle = version if self.at_end else None
        self.lag = len(self._buffer) + (more or 0)
        reason, self._reset = self._reset, ""
        return Chunk(self._data, bool(reason), reason, last=self.at_end)

    def _more(self, limit: int) -> int | None:
        """Fill `_buffer` up to `limit` bytes.

        Returns:
            Compressed bytes behind it, at least 1; None where the log ends.
        """
        if self._exhausted:
            return None
        try:
            if self._log is None:
                self._log = open_log(self.path)
                self.opens += 1
                to_skip = self._offset
                while to_skip and (skipped := self._log.read(min(to_skip, READ_BYTES))):
                    to_skip -= len(skipped)
            missing = max(0, limit - len(self._buffer))
            more = self._log.read(missing)
        except InputError as error:
            self.problem = str(error)
            more, missing = b"", 1
        else:
            self.problem = ""
        self._buffer += more
        if len(more) == missing:
            return max(1, self._log.left if self._log else 0)
        self._exhausted = True
        self.errors.update(self._log.errors if self._log else ())
        return None
