"""Follow one file that is a single document, such as a JSON history: all of it, each time it changes.

A writer replaces such a file or patches it in place. There is no offset to continue from; consumed content is recognised
by its hash.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from lrwatch.sources.compressed import Decompressed
from lrwatch.sources.file_identity import Action, fingerprint
from lrwatch.sources.tail import Chunk, Tail

# A history of ten million values has some 200 MB; a larger one would be decoded to several GB of objects at each change.
MAX_DOCUMENT_BYTES = 256 << 20
# Seconds after a change in which the content is compared, not the time of the change alone: coarse clocks of file systems give two
# changes the same time (2 s on FAT, up to 1 s on NFS).
SETTLED_SECONDS = 2.0

_TOO_LARGE = "document too large"

# Device, inode, size and time of the last change: equal while nothing happened, as far as clocks can tell.
_Version: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Content:
    """Content of a file: `device`, `inode`, `size` in bytes, and the hash of all of it."""

    device: int
    inode: int
    size: int
    hash: str


class DocumentTail(Tail):
    """Follow the document called `path`, with the interface of `Tail`.

    `read` presents all of the document when it differs from what was consumed, and nothing otherwise. A document that was
    presented and not consumed (half written) is presented again when it changed, or after `again`. `reset` is set once
    something was consumed before.

    Args:
        path: The file; it need not exist yet.
        state: What `state` returned before a restart.

    Attributes:
        opens, rotations, truncations: How often a file was opened, was replaced by one with other content, was rewritten
            in place.
        lag: Bytes of the document if it was unconsumed at the last read; else 0.
    """

    def __init__(self, path: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        super().__init__(path)
        self._consumed = _Content(**state["content"]) if state and state["content"] else None
        self._presented: _Content | None = None
        self._version: _Version | None = None
        self._refused: _Version | None = None
        self._since = 0.0
        self._settled = False

    @property
    def offset(self) -> int:
        """Bytes of the last consumed document."""
        return self._consumed.size if self._consumed else 0

    def state(self) -> dict[str, Any]:
        """Return the JSON-plain identity of the last consumed content."""
        return {"content": asdict(self._consumed) if self._consumed else None}

    def close(self) -> None:
        """Let the next `read` compare the content; no file is kept open."""
        self._version = None

    def again(self) -> None:
        """Let the next `read` present the unconsumed document even if it did not change."""
        self._presented = self._version = None

    def consume(self, count: int) -> None:
        """Mark what was read last as consumed: all of it, or with 0 nothing.

        Raises:
            ValueError: `count` is neither.
        """
        if count not in (0, len(self._data)):
            raise ValueError(f"{count} bytes consumed of a document of {len(self._data)}")
        if count:
            self._consumed, self.lag, self._data = self._presented, 0, b""

    def _read(self, limit: int) -> Chunk:
        named = self._named()
        self._data = b""
        if named is None:
            self.lag = 0
            if self._consumed is not None:
                self.problem = f"{self.path} was deleted or renamed; it is read as soon as it is there"
            return Chunk()
        self.problem = ""
        version = _version_of(named)
        if named.st_size > MAX_DOCUMENT_BYTES or version == self._refused:
            self._refuse(version)
            return Chunk()
        if self._is_settled(version):
            return Chunk()
        with Decompressed(os.fdopen(self._open(self.path), "rb"), os.fspath(self.path)) as file:
            self.opens += 1
            about = file.about
            data = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(data) > MAX_DOCUMENT_BYTES:  # compressed, or grown since its `stat`
            self._refuse(version)
            return Chunk()
        data = data.rstrip(b"\0")  # a block that a network file system did not fill yet
        chunk = self._chunk(_Content(about.st_dev, about.st_ino, len(data), fingerprint(data)), data)
        if chunk.data:
            self.errors.update(file.errors)
        return chunk

    def _is_settled(self, version: _Version) -> bool:
        """Whether the content was compared so long after the last change that no other change can have the same time."""
        now = time.monotonic()
        if version != self._version:
            self._version, self._since, self._settled = version, now, False
            return False
        settled, self._settled = self._settled, now - self._since >= SETTLED_SECONDS
        return settled

    def _chunk(self, content: _Content, data: bytes) -> Chunk:
        before = self._consumed
        if before is not None and content.hash == before.hash:
            self._consumed, self._presented, self.lag = content, None, 0
            return Chunk()
        self.lag = len(data)
        if not data or (self._presented is not None and content.hash == self._presented.hash):
            return Chunk()
        self._presented, self._data = content, data
        if before is None:
            return Chunk(data)
        if (content.device, content.inode) == (before.device, before.inode):
            self.truncations += 1
        else:
            self.rotations += 1
        return Chunk(data, reset=True, reason=Action.REWRITTEN.value)

    def _refuse(self, version: _Version) -> None:
        if version != self._refused:
            self.errors[_TOO_LARGE] += 1
        self._refused, self.lag = version, version[2]
        self.problem = f"{self.path} holds more than the {MAX_DOCUMENT_BYTES:,} bytes that a document may have"


def _version_of(about: os.stat_result) -> _Version:
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
