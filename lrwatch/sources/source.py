"""One of several logs of a training: what it is worth, and how far it was heard."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from lrwatch.core.sample import Axis

# Seconds for which a better source at its end is waited for. TensorBoard's writer flushes every 120 s.
PATIENCE = 150.0
# The longest pause that a source is waited for because it made one as long before; a longer one was no pause.
MAX_PATIENCE = 600.0
# Formats whose records are text for people, and of documents that are replaced now and then.
_TEXT = frozenset({"text", "prefixed", "pattern"})
_DOCUMENTS = frozenset({"json"})


class Rank(IntEnum):
    """What a source is worth; lower is better."""

    CLIENT = 0
    RECORDS = 1
    TEXT = 2
    DOCUMENT = 3
    EPOCHS = 4
    LINES = 5


def rank_of(axis: Axis, format_name: str | None, *, client: bool = False) -> Rank:
    """Return the rank of a source.

    Args:
        axis: What its steps count.
        format_name: Name of its format.
        client: Whether lrwatch's client writes it.
    """
    if axis != "step":
        return Rank.EPOCHS if axis == "epoch" else Rank.LINES
    if client:
        return Rank.CLIENT
    if format_name in _DOCUMENTS:
        return Rank.DOCUMENT
    return Rank.TEXT if format_name in _TEXT else Rank.RECORDS


@dataclass(slots=True)
class Source:
    """What is known of one source.

    Attributes:
        order: Its place among sources of the same rank.
        rank: None while nothing in it was understood.
        awaited: Whether it is waited for before it has said anything.
        axis: What its steps count.
        reach: The step up to which it was heard.
        first: First step and value, as text, of each metric by key.
        alive: Seconds since the epoch at which its newest rows came.
        pause: Seconds of its longest pause so far.
        old: Whether its files were old when it was added, and were not written to since.
        silent: Whether it was waited for in vain since its newest rows.
        reads: How often rows came.
        waits: Seconds since the epoch since which its rows wait, or None.
        marks: For rows without steps: the number of reads of each other source from which on they need not wait for it.
        is_later: Whether it is a later attempt; None while that is open.
    """

    order: int
    rank: int | None = None
    awaited: bool = False
    axis: Axis = "step"
    reach: int | None = None
    first: dict[str, list[Any]] = field(default_factory=dict)
    alive: float = 0.0
    pause: float = 0.0
    old: bool = False
    silent: bool = False
    reads: int = 0
    waits: float | None = None
    marks: dict[str, int] = field(default_factory=dict)
    is_later: bool | None = None

    @property
    def place(self) -> tuple[int, int]:
        """What sources are ordered by; lower is better."""
        return (Rank.LINES + 1 if self.rank is None else self.rank, self.order)

    @property
    def patience(self) -> float:
        """Seconds for which it is waited for at its end."""
        return min(max(PATIENCE, 2 * self.pause), MAX_PATIENCE)
