"""Messages to systemd, or to another supervisor with its protocol: sd_notify(3) by the standard library.

The messages come from the loop, so that a loop which hangs misses the watchdog and is started again. Nothing is sent where
`NOTIFY_SOCKET` is not set.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

# Messages in the time that the watchdog allows: one may be late.
_MESSAGES_A_WATCHDOG = 4

# A supervisor reads at once; the loop waits for none that does not.
_SEND_SECONDS = 1.0


class Supervisor:
    """The process that started this one and watches it, if there is one.

    Args:
        environ: The environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.

    Attributes:
        interval: Longest time in seconds between two turns of the loop; infinite where nobody watches.
        problem: Why it cannot be told, as a sentence, or "".
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.problem = ""
        self.interval = _watchdog_seconds(environ) / _MESSAGES_A_WATCHDOG
        self._ready = False
        self._status = ""
        self._alive_at = float("-inf")
        self._socket: socket.socket | None = None
        if address := environ.get("NOTIFY_SOCKET", ""):
            self._socket = self._open(address)

    def _open(self, address: str) -> socket.socket | None:
        if address[0] not in "/@":
            self.problem = f"NOTIFY_SOCKET must be a path or begin with @, found {address!r}: lrwatch cannot report to the supervisor"
            return None
        if address[0] == "@":  # of the abstract name space
            address = "\0" + address[1:]
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.settimeout(_SEND_SECONDS)
        try:
            opened.connect(address)
        except OSError as error:
            opened.close()
            self.problem = f"NOTIFY_SOCKET={address!r} cannot be used ({error.strerror or error}): lrwatch cannot report to the supervisor"
            return None
        return opened

    def turned(self, status: str) -> None:
        """Report that the loop took a turn: the first time that all is ready, then that it lives, and what changed.

        Args:
            status: One line for `systemctl status`.
        """
        lines = []
        now = time.monotonic()
        if not self._ready:
            lines.append("READY=1")
            self._ready = True
        if now - self._alive_at >= self.interval / 2:
            lines.append("WATCHDOG=1")
            self._alive_at = now
        if status != self._status:
            lines.append(f"STATUS={status}")
            self._status = status
        self._send(lines)

    def reloading(self) -> None:
        """Report that the settings are read again; the next turn reports that this is done."""
        self._ready = False
        self._send(["RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"])

    def stopping(self) -> None:
        """Report that this process ends by itself."""
        self._send(["STOPPING=1"])

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, lines: list[str]) -> None:
        if self._socket is None or not lines:
            return
        with contextlib.suppress(OSError):  # one that goes away ends nothing here, and misses the watchdog by itself
            self._socket.send("\n".join(lines).encode())


def _watchdog_seconds(environ: Mapping[str, str]) -> float:
    """Return the time after which a silent process is started again; infinite where none is."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return float("inf")
    return int(usec) / 1e6
