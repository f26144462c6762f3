"""The other end of sd_notify(3): a datagram socket that keeps what it is told, as systemd's does."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path


class NotifySocket:
    """Receives the messages of one daemon.

    Args:
        path: Where the socket is made.

    Attributes:
        path: The same.
        heard: Every assignment so far, in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        path.chmod(0o777)

    def hears(self, assignment: str, times: int = 1) -> bool:
        """Return whether it was told this so many times, by now."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard += self._socket.recv(4096).decode().splitlines()
        return self.heard.count(assignment) >= times

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
