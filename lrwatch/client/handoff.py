"""Lock-free state shared by the training and worker threads (one writer per attribute).

Every attribute holds an immutable object or a deque, whose `append` and `popleft` are atomic. So neither thread can ever
wait for the other.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque

from lrwatch.client.adapter import LearningRates
from lrwatch.client.interlock import ScaleState
from lrwatch.protocol import Desired, ObservedStatus, RejectionCode
from lrwatch.protocol.lean import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from typing import TypeAlias

    Record: TypeAlias = tuple[int, float, dict[str, object], object, float]
    """The metrics of one step: step, seconds since the epoch, metrics, learning rate, scale. A bare tuple, because it is a
    third cheaper to make in the training thread than any class."""

# Records of metrics that may wait for the worker: seconds of the fastest loops, and never much memory.
QUEUE_LIMIT = 4096
# From here on the worker is woken before its time.
QUEUE_HALF = QUEUE_LIMIT // 2


@dataclass(frozen=True)
class CommandResult:
    """Result of a command or an override in the training thread.

    Attributes:
        desired: The command.
        status: Its new status.
        code: Reason of the rejection, or None.
        step: First optimizer step at the wanted scale, if it was applied.
        sample: The learning rates of the newest step, or None.
    """

    desired: Desired
    status: ObservedStatus
    code: RejectionCode | None = None
    step: int | None = None
    sample: LearningRates | None = None


@dataclass(frozen=True)
class Resumed:
    """Notice that the training continues from a checkpoint, under a new incarnation."""

    incarnation: str
    step: int
    generation: int
    max_token: int
    warm_until: int | None = None


@dataclass(frozen=True)
class WarmStartOver:
    """Notice that the next optimizer step is the first one without the factor of a warm start."""


News = CommandResult | Resumed | WarmStartOver
"""What the training thread tells the worker."""


class Handoff:
    """State shared by the two threads, each attribute written by one of them.

    Attributes:
        step: Optimizer steps done. (training thread, as the next ones)
        due: The step at which `Client.step` has more to do than to count, -1 for never: until then a compare of two numbers is all that it costs.
        moves: Whether the next step has another scale, on a ramp or in a warm start.
        scale_state: The scale in force and how it came about.
        queue: Records for the metrics file.
        room: Number of records that may wait; 0 after the end, in a forked child and without a metrics file.
        dropped: Number of records that found no room.
        news: Results, resumes and the end of a warm start, for the worker to publish.
        errors: Errors that the training thread survived, by reason.
        total_steps: Length of the run in optimizer steps, or None.
        order: The newest command that the worker accepted, or None. (worker, as the next one)
        max_token: Highest token seen.
        wake: Set by either thread to end the worker's wait.
    """

    __slots__ = (
        "_leapt", "_look", "dropped", "due", "errors", "max_token", "moves", "news", "order", "queue", "room", "scale_state", "step",
        "total_steps", "wake",
    )  # fmt: skip

    def __init__(self, step: int) -> None:
        self.step = self._leapt = step
        self._look = self.due = -1
        self.moves = False
        self.scale_state = ScaleState()
        self.queue: deque[Record] = deque()
        self.room = QUEUE_LIMIT
        self.dropped = 0
        self.news: deque[News] = deque()
        self.errors: Counter[str] = Counter()
        self.total_steps: int | None = None
        self.order: Desired | None = None
        self.max_token = 0
        self.wake = threading.Event()

    @property
    def calls(self) -> int:
        """The number of calls of `Client.step`."""
        return self.step - self._leapt

    def leap(self, step: int) -> None:
        """Set the number of steps done without a call of `Client.step`, as a resume and a script that counts itself do.

        So the calls need no counter of their own, which would cost a sixth of a call.
        """
        leapt = step - self.step
        self.step = step
        self._leapt += leapt
        if self._look >= 0:
            self._look += leapt
        self.plan()

    def look_at(self, calls: int) -> None:
        """Look at this number of calls whether the optimizer steps; 0 is never."""
        self._look = calls + self._leapt if calls else -1
        self.plan()

    def look_by(self, calls: int) -> None:
        """Look at this number of calls, if no look comes before."""
        if not self.calls < self._look - self._leapt <= calls:
            self.look_at(calls)

    def looks(self) -> bool:
        """Return whether it is time to look."""
        return self.step == self._look

    def move(self, moves: bool) -> None:
        """Note whether the next step has another scale."""
        self.moves = moves
        self.plan()

    def plan(self) -> None:
        """Set `due` for the next call."""
        self.due = self.step + 1 if self.moves else self._look


def draw_incarnation() -> str:
    """Return a name that no other start of a trainer has: 128 random bits."""
    return os.urandom(16).hex()
