"""What the training thread and the worker thread hand to each other.

There is no lock: every attribute has one writer, and what it holds is immutable or a deque, whose `append` and
`popleft` are atomic. So neither thread can ever wait for the other.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from typing import NamedTuple

from lrwatch.client.adapter import Sample
from lrwatch.client.interlock import Standing
from lrwatch.protocol import Desired, RejectionCode, Status

# Records of metrics that may wait for the worker: seconds of the fastest loops, and never much memory.
QUEUE_LIMIT = 4096
# From here on the worker is woken before its time.
QUEUE_HALF = QUEUE_LIMIT // 2


class Record(NamedTuple):
    """The metrics of one step, as the training gave them; `time` is seconds since the epoch."""

    step: int
    time: float
    metrics: dict[str, object]
    lr: object
    scale: float


class Answer(NamedTuple):
    """What the training thread made of a command."""

    desired: Desired
    status: Status
    code: RejectionCode | None = None
    step: int | None = None
    sample: Sample | None = None


class Resumed(NamedTuple):
    """The training goes on from a checkpoint, under a new incarnation."""

    incarnation: str
    step: int
    generation: int
    max_token: int


class Handoff:
    """The attributes below, grouped by the thread that writes them.

    Attributes:
        step: Optimizer steps done. (training thread, as the next ones)
        standing: The scale in force and how it came about.
        queue: Records for the metrics file, as bare tuples.
        room: How many of them may wait; 0 after the end, in a forked child and without a metrics file.
        dropped: Records that found no room.
        news: Answers and resumes, for the worker to publish.
        errors: What the training thread survived, by reason.
        order: The newest command that the worker let through, or None. (worker, as the next one)
        max_token: Highest token seen.
        wake: Set by anyone to end the worker's wait.
    """

    __slots__ = (
        "dropped", "errors", "max_token", "news", "order", "queue", "room", "standing", "step", "wake",
    )  # fmt: skip

    def __init__(self, step: int) -> None:
        self.step = step
        self.standing = Standing()
        self.queue: deque[tuple[int, float, dict[str, object], object, float]] = deque()
        self.room = QUEUE_LIMIT
        self.dropped = 0
        self.news: deque[Answer | Resumed] = deque()
        self.errors: Counter[str] = Counter()
        self.order: Desired | None = None
        self.max_token = 0
        self.wake = threading.Event()


def draw_incarnation() -> str:
    """A name that no other start of a trainer has: 128 random bits."""
    return os.urandom(16).hex()
