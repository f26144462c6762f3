"""A finished log that is compressed, by the interface of a `Tail`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lrwatch.errors import InputError
from lrwatch.sources.compressed import Decompressed, open_log
from lrwatch.sources.file_identity import Action
from lrwatch.sources.tail import READ_BYTES, Chunk, Tail


class CompressedTail(Tail):
    """A compressed log by the interface of `Tail`, for logs that are complete. One that changed is read anew.

    Args:
        path: The file.
        state: What `state` gave in an earlier life; what was consumed is decompressed once more and passed over.

    Attributes:
        lag: Decompressed bytes at hand that were not consumed, and the compressed ones behind them.
    """

    def __init__(self, path: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        super().__init__(path)
        self._identity: tuple[int, ...] | None = tuple(state["file"]) if state and state["file"] else None
        self._offset: int = state["offset"] if state else 0
        self._log: Decompressed | None = None
        self._at_hand = b""
        self._is_read = False

    @property
    def offset(self) -> int:
        """Decompressed bytes that were consumed."""
        return self._offset

    def state(self) -> dict[str, Any]:
        """JSON-plain: how to go on from the first byte that was not consumed, in another life."""
        return {"file": self._identity and list(self._identity), "offset": self._offset}

    def close(self) -> None:
        """Let the file go. Reading again opens it again."""
        if self._log is not None:
            self._log.close()
        self._log, self._at_hand, self._is_read, self._quiet = None, b"", False, None

    def consume(self, count: int) -> None:
        """The first `count` bytes of what was read last are understood.

        Raises:
            ValueError: So many were not read.
        """
        if not 0 <= count <= len(self._data):
            raise ValueError(f"{count} bytes consumed of {len(self._data)} that were read")
        self._data, self._at_hand = self._data[count:], self._at_hand[count:]
        self._offset += count
        self.lag -= count
        if count:
            self._quiet = None

    def _read(self, limit: int) -> Chunk:
        named = self._named()
        self._data = b""
        if named is None:
            if self._identity is not None:
                self.problem = f"{self.path} was deleted or renamed; it is read as soon as it is there"
            return Chunk()
        identity = (named.st_dev, named.st_ino, named.st_size, named.st_mtime_ns)
        if self._identity is not None and identity != self._identity:
            self.close()
            self.rotations += identity[:2] != self._identity[:2]
            self.truncations += identity[:2] == self._identity[:2]
            self._offset, self._anew = 0, Action.REWRITTEN.value
        elif identity == self._quiet:
            return Chunk()
        self._identity = identity
        more = self._more(limit)
        self._data = self._at_hand[:limit]
        self.at_end = more is None and len(self._data) == len(self._at_hand)
        self._quiet = identity if self.at_end else None
        self.lag = len(self._at_hand) + (more or 0)
        why, self._anew = self._anew, ""
        return Chunk(self._data, bool(why), why, last=self.at_end)

    def _more(self, limit: int) -> int | None:
        """Fill `_at_hand` up to `limit` bytes. -> compressed bytes behind it, at least 1; None where the log ends."""
        if self._is_read:
            return None
        try:
            if self._log is None:
                self._log = open_log(self.path)
                self.opens += 1
                to_pass = self._offset
                while to_pass and (passed := self._log.read(min(to_pass, READ_BYTES))):
                    to_pass -= len(passed)
            missing = max(0, limit - len(self._at_hand))
            more = self._log.read(missing)
        except InputError as error:
            self.problem = str(error)
            more, missing = b"", 1
        else:
            self.problem = ""
        self._at_hand += more
        if len(more) == missing:
            return max(1, self._log.left if self._log else 0)
        self._is_read = True
        self.errors.update(self._log.errors if self._log else ())
        return None
