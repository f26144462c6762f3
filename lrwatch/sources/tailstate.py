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


class Place(NamedTuple):
    """How far a file was read: its device and inode, and the bytes of it that were understood."""

    device: int
    inode: int
    offset: int


class Look(NamedTuple):
    """A file now. `alike`: its head and what lies in front of the offset are what they were."""

    device: int
    inode: int
    size: int
    alike: bool


class Mark(NamedTuple):
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


def decide(before: Place | None, now: Look | None) -> Action:
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
