"""How far a file was read, and what it is known by: its place, its head, and what lies in front of the offset."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lrwatch.sources.tailstate import HEAD_BYTES, TRAIL_BYTES, Action, Look, Mark, Place, decide, fingerprint

_EMPTY_HASH = fingerprint(b"")


class Known:
    """What is known of the followed file.

    Args:
        mark: From `mark`, in an earlier life.

    Attributes:
        place: Device, inode and offset, or None while no file was followed.
    """

    def __init__(self, mark: Mapping[str, Any] | None = None) -> None:
        # From an earlier life only the hashes are known, until the file was found to be the same.
        self._restored = None if mark is None else Mark(**mark)
        self.place = None if self._restored is None else Place(*self._restored[:3])
        self._head = self._trail = b""
        self._head_hash = (0, _EMPTY_HASH)  # with the length of the head, which grows only

    @property
    def offset(self) -> int:
        """Bytes of the present file that were consumed."""
        return self.place.offset if self.place else 0

    def mark(self) -> dict[str, Any] | None:
        """JSON-plain, for another life."""
        if self.place is None:
            return None
        if self._restored is not None:
            device, inode, _ = self.place
            return self._restored._replace(device=device, inode=inode).as_json()
        if self._head_hash[0] != len(self._head):
            self._head_hash = (len(self._head), fingerprint(self._head))
        trail_hash = fingerprint(self._trail)
        return Mark(*self.place, self._head_hash[0], self._head_hash[1], len(self._trail), trail_hash).as_json()

    def begin(self, about: os.stat_result) -> None:
        """Go on from the beginning of this file."""
        self._restored, self._head, self._trail, self._head_hash = None, b"", b"", (0, _EMPTY_HASH)
        self.place = Place(about.st_dev, about.st_ino, 0)

    def moved(self, about: os.stat_result) -> None:
        """The same content is in this file now."""
        self.place = Place(about.st_dev, about.st_ino, self.offset)

    def passed(self, at: int) -> None:
        """What lies between the offset and `at` is not read."""
        assert self.place is not None
        self._trail = b""
        self.place = self.place._replace(offset=at)

    def advance(self, data: bytes, start: int, end: int) -> None:
        """The bytes `data[start:end]` were consumed."""
        assert self.place is not None
        assert self._restored is None  # the file was compared before these bytes were read
        if (room := HEAD_BYTES - len(self._head)) > 0:
            self._head += data[start : min(end, start + room)]
        self._trail = (self._trail + data[max(start, end - TRAIL_BYTES) : end])[-TRAIL_BYTES:]
        device, inode, offset = self.place
        self.place = Place(device, inode, offset + end - start)

    def happened(self, file: int, about: os.stat_result) -> Action:
        """Compare an open file with the one that was followed."""
        place = self.place
        if place is None or about.st_size < place.offset:
            return decide(place, Look(about.st_dev, about.st_ino, about.st_size, alike=False))
        if (restored := self._restored) is None:
            alike = os.pread(file, len(self._trail), place.offset - len(self._trail)) == self._trail
            alike = alike and os.pread(file, len(self._head), 0) == self._head
            return decide(place, Look(about.st_dev, about.st_ino, about.st_size, alike))
        head = os.pread(file, restored.head_length, 0)
        trail = os.pread(file, restored.trail_length, place.offset - restored.trail_length)
        alike = (fingerprint(head), fingerprint(trail)) == (restored.head_hash, restored.trail_hash)
        action = decide(place, Look(about.st_dev, about.st_ino, about.st_size, alike))
        if action in (Action.READ, Action.WAIT):
            self._restored, self._head, self._trail = None, head, trail
            self._head_hash = (len(head), restored.head_hash)
        return action
