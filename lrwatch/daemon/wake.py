"""When to look again. The clock decides; a file event only shortens the wait.

File events are a hint and no more: network file systems, overlays and full queues lose them, so everything that they
bring would be found by the next poll too, later.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

# Events come in bursts; reading after each would cost more than it is worth.
SETTLE_SECONDS = 0.05

# The end of the daemon may take two seconds in all.
JOIN_SECONDS = 1.0

# Directories watched at the most: each costs an inotify watch, of which a user has a few thousand.
MAX_DIRECTORIES = 256


class Waker(FileSystemEventHandler):
    """Waits for the next turn.

    Args:
        poll_seconds: The longest wait.
        hints: Whether to listen for file events at all.
    """

    def __init__(self, poll_seconds: float, *, hints: bool = True) -> None:
        self._poll_seconds = poll_seconds
        # A signal handler may interrupt the wait anywhere: putting into this kind of queue is the one way to wake a
        # thread that cannot find its own lock held.
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopped = False
        self._observer: BaseObserver | None = Observer() if hints else None
        self._directories: set[Path] = set()
        if self._observer is not None:
            self._observer.daemon = True
            self._observer.start()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def watch(self, directories: Iterable[Path]) -> None:
        """Listen in `directories` too. One that cannot be listened in is polled like all others."""
        if self._observer is None:
            return
        for directory in directories:
            if directory in self._directories or len(self._directories) >= MAX_DIRECTORIES or not directory.is_dir():
                continue
            try:
                self._observer.schedule(self, str(directory))
            except OSError:  # no watches left, or a file system without events: polling finds everything
                self._observer = self._end(self._observer)
                return
            self._directories.add(directory)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called in watchdog's thread."""
        if event.event_type in ("created", "modified", "moved") and self._woken.empty():
            self._woken.put(None)

    def wait(self) -> bool:
        """Wait for a poll interval or an event. -> whether to go on."""
        with suppress(queue.Empty):
            self._woken.get(timeout=self._poll_seconds)
            if not self._stopped:
                time.sleep(min(SETTLE_SECONDS, self._poll_seconds))
            while True:
                self._woken.get_nowait()
        return not self._stopped

    def stop(self) -> None:
        """End the wait, now and from now on. May be called from a signal handler."""
        self._stopped = True
        self._woken.put(None)

    def close(self) -> None:
        """End the listening."""
        self._observer = self._end(self._observer)

    @staticmethod
    def _end(observer: BaseObserver | None) -> None:
        if observer is not None:
            observer.stop()
            observer.join(JOIN_SECONDS)
