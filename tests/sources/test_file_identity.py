"""The table of what can happen to a followed file."""

from __future__ import annotations

import json

import pytest

from lrwatch.sources.file_identity import HEAD_BYTES, Action, Bookmark, Position, Stat, decide

READ_FAR = HEAD_BYTES + 1000


def place(offset: int = READ_FAR) -> Position:
    return Position(1, 7, offset)


def look(size: int, *, device: int = 1, inode: int = 7, alike: bool = True) -> Stat:
    return Stat(device, inode, size, alike)


@pytest.mark.parametrize(
    ("before", "now", "action"),
    [
        (None, None, Action.GONE),
        (place(), None, Action.GONE),
        (None, look(0), Action.READ),
        (place(0), look(10), Action.READ),
        (place(0), look(10, inode=8), Action.REPLACED),
        (place(), look(READ_FAR), Action.WAIT),
        (place(), look(READ_FAR + 1), Action.READ),
        (place(), look(READ_FAR - 1), Action.TRUNCATED),
        (place(), look(0), Action.TRUNCATED),
        (place(), look(READ_FAR, alike=False), Action.REWRITTEN),
        (place(), look(READ_FAR + 5, alike=False), Action.REWRITTEN),
        (place(), look(READ_FAR + 5, inode=8, alike=False), Action.REPLACED),
        (place(), look(READ_FAR + 5, device=2, alike=False), Action.REPLACED),
        (place(), look(10, inode=8), Action.REPLACED),
        (place(), look(READ_FAR + 5, inode=8), Action.READ),  # a copy with all that was read
        (place(100), look(200, inode=8), Action.REPLACED),  # no more than a header in common
    ],
)
def test_every_row_of_the_table(before: Position | None, now: Stat | None, action: Action) -> None:
    assert decide(before, now) is action


def test_a_mark_survives_the_database() -> None:
    mark = Bookmark(1, 7, READ_FAR, HEAD_BYTES, "of the head", 256, "of the trail")
    assert Bookmark(**json.loads(json.dumps(mark.as_json()))) == mark
