"""Which followed files are open: as many as a process may have, those that were read last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

# Files open at once in a thread. A process may have 1024 open by default, and a database, sockets and watches need some.
MAX_OPEN = 512


class Closable(Protocol):
    """What has a file open, and can open it again."""

    def close(self) -> None:
        """Let the file go."""


class OpenFiles(threading.local):
    """Closes what was used longest ago when there are too many. Each thread has its own, for it closes without a lock.

    Attributes:
        closed: How many were closed because of others.
    """

    def __init__(self, limit: int = MAX_OPEN) -> None:
        self._limit = limit
        self._open: OrderedDict[int, Closable] = OrderedDict()
        self.closed = 0

    def __len__(self) -> int:
        return len(self._open)

    def use(self, owner: Closable) -> None:
        """`owner` opened its file, or reads it."""
        self._open[id(owner)] = owner
        self._open.move_to_end(id(owner))
        while len(self._open) > self._limit:
            self.closed += 1
            next(iter(self._open.values())).close()

    def drop(self, owner: Closable) -> None:
        """`owner` closed its file."""
        self._open.pop(id(owner), None)
