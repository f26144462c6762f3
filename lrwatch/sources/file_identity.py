"""What happened to a followed file since it was last looked at: a pure table, tested as one.

A file is the same as before if device, inode, its head and what lay in front of the offset are all the same, and the
offset is not beyond its end. Device and inode alone are not enough (inodes are used again, a file can be rewritten in
place), and neither is the content (the logs of two runs begin alike). The head grows with what was read up to HEAD_BYTES,
so that a file is recognised from its first line on. Between two lives the hashes of head and trail are kept.

==============================  ==================================================  =================================
now                             against before                                      action
==============================  ==================================================  =================================
no file has the name            -                                                   GONE: wait, or read the open one
a file                          nothing was read before                             READ from the beginning
another device or inode         too little was read, or other content               REPLACED: finish the old, then this
another device or inode         same head, same bytes in front of the offset        READ on: a copy took its place
the same, shorter than offset   -                                                   TRUNCATED: from the beginning
the same                        other head, or other bytes in front of the offset   REWRITTEN: from the beginning
the same, as long as offset     same content                                        WAIT
the same, longer                same content                                        READ on
==============================  ==================================================  =================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from hashlib import blake2b
from typing import Any, NamedTuple

# Longest head that identifies a file: one page, of which a read costs nothing. Logs of two runs that are alike for longer
# (they may begin with their own source code) differ in front of the offset.
HEAD_BYTES = 4096
# Bytes in front of the offset that must still be there. A few lines of a log, with their steps and losses.
TRAIL_BYTES = 256


class Action(Enum):
    """What to do; see the table of the module."""

    GONE = "gone"
    READ = "read"
    WAIT = "wait"
    REPLACED = "replaced"
    TRUNCATED = "truncated"
    REWRITTEN = "rewritten"


class Position(NamedTuple):
    """How far a file was read: its device and inode, and the bytes of it that were understood."""

    device: int
    inode: int
    offset: int


class Stat(NamedTuple):
    """A file now. `alike`: its head and what lies in front of the offset are what they were."""

    device: int
    inode: int
    size: int
    alike: bool


class Bookmark(NamedTuple):
    """How far a file was read, and how it is known again in another life. JSON-plain by `as_json`.

    Attributes:
        device, inode: Of the file.
        offset: Bytes read and understood.
        head_length: Length of the head that `head_hash` is of, min(offset, HEAD_BYTES).
        trail_length: Length of what lies in front of the offset that `trail_hash` is of, at most TRAIL_BYTES.
    """

    device: int
    inode: int
    offset: int
    head_length: int
    head_hash: str
    trail_length: int
    trail_hash: str

    def as_json(self) -> dict[str, Any]:
        """The mark for the database."""
        return self._asdict()


def fingerprint(data: bytes) -> str:
    """Hash of a stretch of a file."""
    return blake2b(data, digest_size=16).hexdigest()


def decide(before: Position | None, now: Stat | None) -> Action:
    """What happened between `before` (None: nothing was read yet) and `now` (None: no file has the name)."""
    if now is None:
        return Action.GONE
    if before is None:
        return Action.READ
    complete = now.size >= before.offset
    alike = complete and now.alike
    if (now.device, now.inode) != (before.device, before.inode):
        # A head shorter than HEAD_BYTES may be no more than a header that the logs of two runs share.
        return Action.READ if alike and before.offset > HEAD_BYTES else Action.REPLACED
    if not complete:
        return Action.TRUNCATED
    if not alike:
        return Action.REWRITTEN
    return Action.WAIT if now.size == before.offset else Action.READ


_EMPTY_HASH = fingerprint(b"")


class FileIdentity:
    """What is known of the followed file.

    Args:
        mark: From `mark`, in an earlier life.

    Attributes:
        place: Device, inode and offset, or None while no file was followed.
    """

    def __init__(self, mark: Mapping[str, Any] | None = None) -> None:
        # From an earlier life only the hashes are known, until the file was found to be the same.
        self._restored = None if mark is None else Bookmark(**mark)
        self.place = None if self._restored is None else Position(*self._restored[:3])
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
        return Bookmark(*self.place, self._head_hash[0], self._head_hash[1], len(self._trail), trail_hash).as_json()

    def begin(self, about: os.stat_result) -> None:
        """Go on from the beginning of this file."""
        self._restored, self._head, self._trail, self._head_hash = None, b"", b"", (0, _EMPTY_HASH)
        self.place = Position(about.st_dev, about.st_ino, 0)

    def moved(self, about: os.stat_result) -> None:
        """The same content is in this file now."""
        self.place = Position(about.st_dev, about.st_ino, self.offset)

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
        self.place = Position(device, inode, offset + end - start)

    def happened(self, file: int, about: os.stat_result) -> Action:
        """Compare an open file with the one that was followed."""
        place = self.place
        if place is None or about.st_size < place.offset:
            return decide(place, Stat(about.st_dev, about.st_ino, about.st_size, alike=False))
        if (restored := self._restored) is None:
            alike = os.pread(file, len(self._trail), place.offset - len(self._trail)) == self._trail
            alike = alike and os.pread(file, len(self._head), 0) == self._head
            return decide(place, Stat(about.st_dev, about.st_ino, about.st_size, alike))
        head = os.pread(file, restored.head_length, 0)
        trail = os.pread(file, restored.trail_length, place.offset - restored.trail_length)
        alike = (fingerprint(head), fingerprint(trail)) == (restored.head_hash, restored.trail_hash)
        action = decide(place, Stat(about.st_dev, about.st_ino, about.st_size, alike))
        if action in (Action.READ, Action.WAIT):
            self._restored, self._head, self._trail = None, head, trail
            self._head_hash = (len(head), restored.head_hash)
        return action
