"""Identity of a followed file: how far it was read, and fingerprints that tell what happened to it since. A pure table.

A file is the same as before if device, inode, its head and the bytes before the offset are all the same, and the
offset is not beyond its end. Device and inode alone are not enough (inodes are used again, a file can be rewritten in
place), and neither is the content (the logs of two runs begin alike). The head grows with what was read up to HEAD_BYTES,
so that a file is recognised from its first line on. The saved state holds the hashes of head and trail.

==============================  ==================================================  =================================
now                             against before                                      action
==============================  ==================================================  =================================
no file has the name            -                                                   GONE: wait, or read the open one
a file                          nothing was read before                             READ from the beginning
another device or inode         too little was read, or other content               REPLACED: finish the old, then this
another device or inode         same head, same bytes before the offset             READ on: a copy took its place
the same, shorter than offset   -                                                   TRUNCATED: from the beginning
the same                        other head, or other bytes before the offset        REWRITTEN: from the beginning
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
# (they may begin with their own source code) differ before the offset.
HEAD_BYTES = 4096
# Bytes before the offset that must still be there. A few lines of a log, with their steps and losses.
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
    """Read position: device and inode of the file, and the offset up to which it was consumed."""

    device: int
    inode: int
    offset: int


class Stat(NamedTuple):
    """Status of a file at present. `alike`: its head and the bytes before the offset are unchanged."""

    device: int
    inode: int
    size: int
    alike: bool


class Bookmark(NamedTuple):
    """Position with the hashes that identify the file after a restart. JSON-plain by `as_json`.

    Attributes:
        device, inode: Of the file.
        offset: Bytes consumed.
        head_length: Length of the head that `head_hash` is of, min(offset, HEAD_BYTES).
        trail_length: Length of the bytes before the offset that `trail_hash` is of, at most TRAIL_BYTES.
    """

    device: int
    inode: int
    offset: int
    head_length: int
    head_hash: str
    trail_length: int
    trail_hash: str

    def as_json(self) -> dict[str, Any]:
        """Return the bookmark as the store holds it."""
        return self._asdict()


def fingerprint(data: bytes) -> str:
    """Return the hash of a stretch of a file."""
    return blake2b(data, digest_size=16).hexdigest()


def decide(before: Position | None, now: Stat | None) -> Action:
    """Return what happened between `before` (None: nothing was read yet) and `now` (None: no file has the name)."""
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
    """Position in the followed file and the fingerprints that identify it.

    Args:
        bookmark: What `bookmark` returned before a restart.

    Attributes:
        position: Device, inode and offset, or None while no file was followed.
    """

    def __init__(self, bookmark: Mapping[str, Any] | None = None) -> None:
        # After a restart only the hashes are known, until the file was found to be the same.
        self._restored = None if bookmark is None else Bookmark(**bookmark)
        self.position = None if self._restored is None else Position(*self._restored[:3])
        self._head = self._trail = b""
        self._head_hash = (0, _EMPTY_HASH)  # with the length of the head, which grows only

    @property
    def offset(self) -> int:
        """Bytes of the present file that were consumed."""
        return self.position.offset if self.position else 0

    def bookmark(self) -> dict[str, Any] | None:
        """Return the JSON-plain state to restart from."""
        if self.position is None:
            return None
        if self._restored is not None:
            device, inode, _ = self.position
            return self._restored._replace(device=device, inode=inode).as_json()
        if self._head_hash[0] != len(self._head):
            self._head_hash = (len(self._head), fingerprint(self._head))
        trail_hash = fingerprint(self._trail)
        return Bookmark(*self.position, self._head_hash[0], self._head_hash[1], len(self._trail), trail_hash).as_json()

    def begin(self, about: os.stat_result) -> None:
        """Start at the beginning of this file."""
        self._restored, self._head, self._trail, self._head_hash = None, b"", b"", (0, _EMPTY_HASH)
        self.position = Position(about.st_dev, about.st_ino, 0)

    def relocate(self, about: os.stat_result) -> None:
        """Take over that the same content is in this file now."""
        self.position = Position(about.st_dev, about.st_ino, self.offset)

    def skip_to(self, at: int) -> None:
        """Move the offset to `at` without reading the bytes between."""
        assert self.position is not None
        self._trail = b""
        self.position = self.position._replace(offset=at)

    def advance(self, data: bytes, start: int, end: int) -> None:
        """Move the offset behind the consumed bytes `data[start:end]`."""
        assert self.position is not None
        assert self._restored is None  # the file was compared before these bytes were read
        if (room := HEAD_BYTES - len(self._head)) > 0:
            self._head += data[start : min(end, start + room)]
        self._trail = (self._trail + data[max(start, end - TRAIL_BYTES) : end])[-TRAIL_BYTES:]
        device, inode, offset = self.position
        self.position = Position(device, inode, offset + end - start)

    def compare(self, file: int, about: os.stat_result) -> Action:
        """Compare an open file with the followed one."""
        position = self.position
        if position is None or about.st_size < position.offset:
            return decide(position, Stat(about.st_dev, about.st_ino, about.st_size, alike=False))
        if (restored := self._restored) is None:
            alike = os.pread(file, len(self._trail), position.offset - len(self._trail)) == self._trail
            alike = alike and os.pread(file, len(self._head), 0) == self._head
            return decide(position, Stat(about.st_dev, about.st_ino, about.st_size, alike))
        head = os.pread(file, restored.head_length, 0)
        trail = os.pread(file, restored.trail_length, position.offset - restored.trail_length)
        alike = (fingerprint(head), fingerprint(trail)) == (restored.head_hash, restored.trail_hash)
        action = decide(position, Stat(about.st_dev, about.st_ino, about.st_size, alike))
        if action in (Action.READ, Action.WAIT):
            self._restored, self._head, self._trail = None, head, trail
            self._head_hash = (len(head), restored.head_hash)
        return action
