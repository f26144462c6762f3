"""The process of a trainer, named so that a daemon on the same machine can see it go.

A number alone does not do: it is used again, and a container has numbers of its own. So a process is named by its number,
the time at which it started, and the machine: this boot of the kernel, and the namespace of the number.
"""

from __future__ import annotations

import os

from lrwatch.protocol.lean import dataclass

# Fields of /proc/PID/stat behind the name in brackets: the state, and the start in clock ticks since the boot.
_STATE, _START = 0, 19
# States of a process that has ended and that nobody has waited for.
_ENDED = (b"Z", b"X")


@dataclass(frozen=True)
class Process:
    """One process.

    Attributes:
        pid: Its number.
        start: When it started, in clock ticks since the boot.
        machine: The boot and the namespace in which the number counts.
    """

    pid: int
    start: int
    machine: str


def own_process() -> Process | None:
    """Return the calling process, or None where the system has no /proc."""
    try:
        pid = os.getpid()
        return Process(pid, int(_stat(pid)[_START]), own_machine())
    except (OSError, ValueError, IndexError):
        return None


def own_machine() -> str:
    """Return what names the boot of this machine and the namespace of process numbers.

    Raises:
        OSError: The system has no /proc.
    """
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:  # noqa: PTH123  pathlib is slow to import
        boot = file.read(64).decode("ascii").strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115


def is_alive(process: Process) -> bool | None:
    """Return whether a process still runs; None where that cannot be seen from here."""
    try:
        if own_machine() != process.machine:
            return None
        os.kill(process.pid, 0)  # no signal is sent
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    except OSError:
        return None
    try:
        stat = _stat(process.pid)
        return int(stat[_START]) == process.start and stat[_STATE] not in _ENDED
    except (OSError, ValueError, IndexError):  # it ended meanwhile, or /proc hides it
        return None


def _stat(pid: int) -> list[bytes]:
    """Return the fields behind the name, which may itself hold brackets and spaces.

    Raises:
        OSError: There is no such process, or /proc hides it.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  pathlib is slow to import
        return file.read(4096).rpartition(b")")[2].split()
