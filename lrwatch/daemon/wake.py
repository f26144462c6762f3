"""The wait between two turns. The clock decides; a file event only shortens it.

File events are a hint and no more: network file systems, overlays and full queues lose them. The next poll finds
everything that an event announces, only later.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)  # fmt: skip
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

# Events come in bursts, and a read after each would cost more than it brings.
SETTLE_SECONDS = 0.05

# Share of the time that turns may take when hints bring them forward. A turn over one run takes a millisecond and may come
# at once; one over a thousand takes long enough that the poll comes first.
TURN_SHARE = 0.02

# Turns over many runs take a third of the time, as long as a poll comes no later than LATER intervals after the one before, and then up
# to two thirds. Reading a thousand runs costs as much for the turn as for some ten lines, so the rarer the cheaper; but of lines that
# are polled each 1.3 seconds, 99 % are seen within 1.5.
BUSY, LATER, MOST_BUSY = 1 / 3, 1.3, 2 / 3

# Events a second above which listening pauses: each costs about 0.1 ms in watchdog's threads, used or not, and at that rate
# every poll finds something to read.
MAX_HINTS_A_SECOND = 200

# Length of such a pause. The next try costs a second of events.
REST_SECONDS = 60.0

# Seconds that the end waits for watchdog's threads: the daemon must end within two.
JOIN_SECONDS = 1.0

# Most directories that are watched: each is a thread of watchdog's, and with many runs every poll finds something to read.
MAX_DIRECTORIES = 64

# Events that may mean something to read; a move may replace a log by another.
_HEARD: list[type[FileSystemEvent]] = [FileCreatedEvent, FileModifiedEvent, FileMovedEvent, DirCreatedEvent]


def rest(turn: float, poll_seconds: float) -> float:
    """Return the longest wait after a turn, in seconds: the rest of a poll interval, or more where turns take long.

    Args:
        turn: Seconds since the last turn began.
        poll_seconds: The interval.

    >>> [round(turn + rest(turn, 1.0), 2) for turn in (0.001, 0.3, 0.4, 0.6, 1.0, 4.0)]
    [1.0, 1.0, 1.2, 1.3, 1.5, 5.0]
    """
    interval = min(max(poll_seconds, turn / BUSY), LATER * poll_seconds)
    return max(interval - turn, min(turn / MOST_BUSY - turn, poll_seconds))


class Waker(FileSystemEventHandler):
    """Timer of the turns.

    Args:
        poll_seconds: The longest wait.
        hints: Whether to listen for file events at all.

    Attributes:
        poll_seconds: The longest wait.
    """

    def __init__(self, poll_seconds: float, *, hints: bool = True) -> None:
        self.poll_seconds = poll_seconds
        # A signal handler may interrupt the wait anywhere: putting into this kind of queue is the one way to wake a
        # thread that cannot find its own lock held.
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopped = False
        self._observer: BaseObserver | None = Observer() if hints else None
        self._directories: set[Path] = set()
        self._hints = 0
        self._counted_from = self._turn_from = time.monotonic()
        self._rests_until = float("-inf")
        if self._observer is not None:
            self._observer.daemon = True
            self._observer.start()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def watch(self, directories: Iterable[Path]) -> None:
        """Listen in `directories` too. One that takes no listener is polled like all others."""
        now = time.monotonic()
        self._rest_if_flooded(now)
        if self._observer is None or now < self._rests_until:
            return
        for directory in directories:
            if directory in self._directories or len(self._directories) >= MAX_DIRECTORIES:
                continue
            if not os.path.isdir(directory):  # noqa: PTH112 - raises nothing where this user may not look
                continue
            try:
                self._observer.schedule(self, str(directory), event_filter=_HEARD)
            except PermissionError:  # of this directory alone
                continue
            except OSError:  # no watches left, or a file system without events: polling finds everything
                self._observer = self._end(self._observer)
                return
            self._directories.add(directory)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take a hint; called in watchdog's thread."""
        self._hints += 1
        if self._woken.empty():
            self._woken.put(None)

    def wait(self) -> bool:
        """Wait until a poll is due, or for less if there is an event: see `rest`.

        Returns:
            Whether to continue: False once `stop` was called.
        """
        now = time.monotonic()
        turn = now - self._turn_from
        longest = rest(turn, self.poll_seconds)
        settled = now + min(longest, max(SETTLE_SECONDS, turn / TURN_SHARE - turn))
        with suppress(queue.Empty):
            self._woken.get(timeout=longest)
            while not self._stopped:
                self._woken.get(timeout=max(0.0, settled - time.monotonic()))
        self._turn_from = time.monotonic()
        self._rest_if_flooded(self._turn_from)
        return not self._stopped

    def _rest_if_flooded(self, now: float) -> None:
        elapsed = now - self._counted_from
        if self._observer is None or elapsed < 1.0:
            return
        if self._hints > MAX_HINTS_A_SECOND * elapsed:
            self._observer.unschedule_all()
            self._directories.clear()
            self._rests_until = now + REST_SECONDS
        self._hints, self._counted_from = 0, now

    def wake(self) -> None:
        """End the wait soon: an operator asks. Any thread may call it."""
        self._woken.put(None)

    def stop(self) -> None:
        """End the wait, and every later one. A signal handler may call it."""
        self._stopped = True
        self._woken.put(None)

    def close(self) -> None:
        """Stop listening."""
        self._observer = self._end(self._observer)

    @staticmethod
    def _end(observer: BaseObserver | None) -> None:
        if observer is not None:
            observer.stop()
            observer.join(JOIN_SECONDS)
