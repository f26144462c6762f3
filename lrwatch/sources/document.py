"""Follows one file that is a single document, such as a JSON history: all of it, each time that it changed.

A writer replaces such a file, or patches it in place. There is no offset to go on from; what was consumed is known again
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
# For so long after a change the content is compared, not the time of the change alone: coarse clocks of file systems give two
# changes the same time (2 s on FAT, up to 1 s on NFS).
SETTLED_SECONDS = 2.0

_TOO_LARGE = "document too large"

# Device, inode, size and time of the last change: what tells that nothing happened, as far as clocks tell it.
_Look: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Content:
    """What lay in a file: `device`, `inode`, `size` in bytes, and the hash of all of it."""

    device: int
    inode: int
    size: int
    hash: str


class Document(Tail):
    """Follows the document called `path`, by the interface of `Tail`.

    `read` gives all of the document when it is not what was consumed, and nothing while it is. What was given and not
    consumed (half written) is given again when it changed, or after `again`. `anew` is set once there was something
    consumed before.

    Args:
        path: The file; it need not exist yet.
        state: What `state` gave in an earlier life.

    Attributes:
        opens, rotations, truncations: How often a file was opened, another one with other content took the name, and
            content was rewritten in place.
        lag: Bytes of the document if it was not consumed, at the last look; else 0.
    """

    def __init__(self, path: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        super().__init__(path)
        self._consumed = _Content(**state["content"]) if state and state["content"] else None
        self._given: _Content | None = None
        self._looked_at: _Look | None = None
        self._refused: _Look | None = None
        self._since = 0.0
        self._settled = False

    @property
    def offset(self) -> int:
        """Bytes of the document that was consumed last."""
        return self._consumed.size if self._consumed else 0

    def state(self) -> dict[str, Any]:
        """JSON-plain: what was consumed last."""
        return {"content": asdict(self._consumed) if self._consumed else None}

    def close(self) -> None:
        """Nothing is kept open; reading again looks at the content."""
        self._looked_at = None

    def again(self) -> None:
        """Let the next `read` give what was given before and not consumed, though it did not change."""
        self._given = self._looked_at = None

    def consume(self, count: int) -> None:
        """What was read last is understood: all of it, or with 0 nothing.

        Raises:
            ValueError: `count` is neither.
        """
        if count not in (0, len(self._data)):
            raise ValueError(f"{count} bytes consumed of a document of {len(self._data)}")
        if count:
            self._consumed, self.lag, self._data = self._given, 0, b""

    def _read(self, limit: int) -> Chunk:
        named = self._named()
        self._data = b""
        if named is None:
            self.lag = 0
            if self._consumed is not None:
                self.problem = f"{self.path} was deleted or renamed; it is read as soon as it is there"
            return Chunk()
        self.problem = ""
        look = _look(named)
        if named.st_size > MAX_DOCUMENT_BYTES or look == self._refused:
            self._refuse(look)
            return Chunk()
        if self._is_settled(look):
            return Chunk()
        with Decompressed(os.fdopen(self._open(self.path), "rb"), os.fspath(self.path)) as file:
            self.opens += 1
            about = file.about
            data = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(data) > MAX_DOCUMENT_BYTES:  # compressed, or grown since it was looked at
            self._refuse(look)
            return Chunk()
        data = data.rstrip(b"\0")  # a block that a network file system did not fill yet
        chunk = self._chunk(_Content(about.st_dev, about.st_ino, len(data), fingerprint(data)), data)
        if chunk.data:
            self.errors.update(file.errors)
        return chunk

    def _is_settled(self, look: _Look) -> bool:
        """Whether the content was looked at so long after the last change that no other can have the same time."""
        now = time.monotonic()
        if look != self._looked_at:
            self._looked_at, self._since, self._settled = look, now, False
            return False
        settled, self._settled = self._settled, now - self._since >= SETTLED_SECONDS
        return settled

    def _chunk(self, content: _Content, data: bytes) -> Chunk:
        before = self._consumed
        if before is not None and content.hash == before.hash:
            self._consumed, self._given, self.lag = content, None, 0
            return Chunk()
        self.lag = len(data)
        if not data or (self._given is not None and content.hash == self._given.hash):
            return Chunk()
        self._given, self._data = content, data
        if before is None:
            return Chunk(data)
        if (content.device, content.inode) == (before.device, before.inode):
            self.truncations += 1
        else:
            self.rotations += 1
        return Chunk(data, anew=True, why=Action.REWRITTEN.value)

    def _refuse(self, look: _Look) -> None:
        if look != self._refused:
            self.errors[_TOO_LARGE] += 1
        self._refused, self.lag = look, look[2]
        self.problem = f"{self.path} holds more than the {MAX_DOCUMENT_BYTES:,} bytes that a document may have"


def _look(about: os.stat_result) -> _Look:
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
