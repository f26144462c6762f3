"""A pool of file descriptors: at most as many as a process may have, the most recently used ones (LRU)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

# Files open at once in a thread. A process may have 1024 open by default, and a database, sockets and watches need some.
MAX_OPEN = 512


class Closable(Protocol):
    """The owner of an open file, which can open it again."""

    def close(self) -> None:
        """Close the file."""


class FdPool(threading.local):
    """Close the least recently used file when too many are open.

    Each thread has a pool of its own, because it closes without a lock.

    Attributes:
        evicted: Files that were closed because of others.
    """

    def __init__(self, limit: int = MAX_OPEN) -> None:
        self._limit = limit
        self._open: OrderedDict[int, Closable] = OrderedDict()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._open)

    def use(self, owner: Closable) -> None:
        """Register that `owner` opened or read its file."""
        self._open[id(owner)] = owner
        self._open.move_to_end(id(owner))
        while len(self._open) > self._limit:
            self.evicted += 1
            next(iter(self._open.values())).close()

    def drop(self, owner: Closable) -> None:
        """Register that `owner` closed its file."""
        self._open.pop(id(owner), None)
