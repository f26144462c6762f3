"""Requests that came over the socket: kept in memory until their answer is in the journal."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from typing import Any

from lrwatch.daemon.access import Peer
from lrwatch.store import Request

Answer = dict[str, Any]


class Inbox:
    """Requests without an answer. Threads of the socket put them in; the loop answers them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, tuple[Request, queue.SimpleQueue[Answer | None]]] = {}
        self._numbers = itertools.count(-1, -1)  # those of the store are above 0
        self._closed = False

    def ask(
        self,
        run: str,
        verb: str,
        argument: str,
        peer: Peer,
        *,
        refusal: str,
        wake: Callable[[], object],
        seconds: float,
    ) -> Answer | None:
        """Leave a request, and wait for the answer. One that is not answered in time is withdrawn.

        Args:
            run: The run's name.
            verb: Name of the request.
            argument: Its argument, as the verb defines it, or "".
            peer: Who asks.
            refusal: Why that one may not, or "".
            wake: Wakes the loop.
            seconds: Longest time to wait.

        Returns:
            The answer, or None where there is none in time or the daemon ends.
        """
        number = next(self._numbers)
        answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        request = Request(number, run, peer.actor, verb, argument, uid=peer.uid, refusal=refusal, reply=answers.put)
        with self._lock:
            if self._closed:
                return None
            self._open[number] = request, answers
        wake()
        try:
            return answers.get(timeout=seconds)
        except queue.Empty:
            return None
        finally:
            with self._lock:
                del self._open[number]

    def requests(self) -> dict[str, list[Request]]:
        """Return the requests without an answer, by run."""
        found: dict[str, list[Request]] = {}
        with self._lock:
            for request, answers in self._open.values():
                if answers.empty():
                    found.setdefault(request.run, []).append(request)
        return found

    def close(self) -> None:
        """Let those who wait go without an answer."""
        with self._lock:
            self._closed = True
            for _, answers in self._open.values():
                answers.put(None)
