"""The table of what can happen to a followed file."""

from __future__ import annotations

import pytest

from lrwatch.sources.tailstate import HEAD_BYTES, Action, Look, Mark, decide

READ_FAR = HEAD_BYTES + 1000


def mark(offset: int = READ_FAR) -> Mark:
    return Mark(1, 7, offset, min(offset, HEAD_BYTES), "head", 256, "trail")


def look(size: int, *, device: int = 1, inode: int = 7, head: str = "head", trail: str = "trail") -> Look:
    return Look(device, inode, size, head, trail)


@pytest.mark.parametrize(
    ("before", "now", "action"),
    [
        (None, None, Action.GONE),
        (mark(), None, Action.GONE),
        (None, look(0), Action.READ),
        (mark(0), look(10), Action.READ),
        (mark(0), look(10, inode=8), Action.REPLACED),
        (mark(), look(READ_FAR), Action.WAIT),
        (mark(), look(READ_FAR + 1), Action.READ),
        (mark(), look(READ_FAR - 1), Action.TRUNCATED),
        (mark(), look(0), Action.TRUNCATED),
        (mark(), look(READ_FAR, head="other"), Action.REWRITTEN),
        (mark(), look(READ_FAR + 5, head="other"), Action.REWRITTEN),
        (mark(), look(READ_FAR + 5, trail="other"), Action.REWRITTEN),
        (mark(), look(READ_FAR + 5, inode=8, trail="other"), Action.REPLACED),
        (mark(), look(READ_FAR + 5, device=2, head="other"), Action.REPLACED),
        (mark(), look(10, inode=8), Action.REPLACED),
        (mark(), look(READ_FAR + 5, inode=8), Action.READ),  # a copy with all that was read
        (mark(100), look(200, inode=8), Action.REPLACED),  # no more than a header in common
    ],
)
def test_every_row_of_the_table(before: Mark | None, now: Look | None, action: Action) -> None:
    assert decide(before, now) is action


def test_a_mark_survives_the_database() -> None:
    assert Mark(**mark().as_json()) == mark()
