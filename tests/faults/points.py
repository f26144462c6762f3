"""The points of the matrix: every system call of a process on the files of a run, and every way in which it can go wrong."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# What each system call may answer on a disk that is broken, full or over its quota, and in a process without descriptors or memory.
_WRITE = ("EIO", "ENOSPC", "EDQUOT")
ERRORS = {
    "openat": ("EIO", "ENOSPC", "EDQUOT", "EMFILE"),
    "write": _WRITE, "pwrite64": _WRITE, "fsync": _WRITE, "fdatasync": _WRITE, "ftruncate": _WRITE,
    "rename": _WRITE, "renameat": _WRITE, "renameat2": _WRITE, "mkdir": _WRITE, "mkdirat": _WRITE,
    "unlink": ("EIO",), "unlinkat": ("EIO",), "rmdir": ("EIO",), "fchown": ("EIO",), "fchmod": ("EIO",), "utimensat": ("EIO",),
    "read": ("EIO",), "pread64": ("EIO",), "lseek": ("EIO",), "getdents64": ("EIO",), "readlink": ("EIO",), "access": ("EIO",),
    "newfstatat": ("EIO",), "statx": ("EIO",), "fstat": ("EIO",), "stat": ("EIO",), "lstat": ("EIO",),
    "flock": ("EIO",), "fcntl": ("EIO",), "ioctl": ("EIO",), "close": ("EIO",), "mmap": ("ENOMEM",), "fallocate": ("ENOSPC",),
}  # fmt: skip

KILL = "signal=KILL"

_CALL = re.compile(r"^(\w+)\((.*)$")


@dataclass(frozen=True, order=True)
class Point:
    """One fault at one system call.

    Attributes:
        course: Whose life it is.
        life: Which of its lives, or of its threads.
        call: The system call.
        number: The how-manieth call of that name.
        fault: What strace does there: `signal=KILL` or `error=...`.
        file: What the call was about in the recording, without the directory of the course.
    """

    course: str
    life: str
    call: str
    number: int
    fault: str
    file: str

    @property
    def key(self) -> str:
        """A name that no other point has."""
        return f"{self.course}/{self.life}/{self.call}#{self.number}/{self.fault}/{self.file}"


def points_of(course: str, life: str, recording: Path, home: Path) -> list[Point]:
    """Return every fault of every call on files below `home` that a life made.

    Args:
        course: Whose life it is.
        life: Which of its lives.
        recording: What `strace -y` wrote about an undisturbed one.
        home: Directory of the files of the run.
    """
    counts: Counter[str] = Counter()
    points: list[Point] = []
    for line in recording.read_text(errors="replace").splitlines():
        if (found := _CALL.match(line)) is None:
            continue
        call, rest = found.groups()
        counts[call] += 1
        if not re.search(re.escape(str(home)) + r'[/">]', rest):
            continue
        file = file_in(rest, home)
        faults = (KILL, *(f"error={error}" for error in ERRORS[call]))
        points.extend(Point(course, life, call, counts[call], fault, file) for fault in faults)
    return points


def file_in(arguments: str, home: Path) -> str:
    """Return the file below `home` that the arguments of a call name, with the random part of temporary names left out."""
    directory = re.search(re.escape(str(home)) + r'(?=[/">])/?([^>"]*)', arguments)
    named = re.search(r'"((?:[^"\\]|\\.)*)"', arguments)
    found = "" if directory is None else directory[1]
    if named is not None and _is_name(named[1]):  # beside a descriptor of the directory
        found = f"{found}/{named[1]}"
    return re.sub(r"\.[0-9a-f]{16}\.tmp", ".RANDOM.tmp", found)


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[\w.-]{1,80}", text) is not None


def sample(points: Sequence[Point], most: int) -> list[Point]:
    """Choose points, the same ones each time: every system call of every life in turn, and of each another fault each time."""

    def chance(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    by_call: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda point: chance(point.key)):
        by_call.setdefault(f"{point.course}/{point.life}/{point.call}", []).append(point)
    rounds = itertools.zip_longest(*(by_call[name] for name in sorted(by_call, key=chance)))
    return [point for chosen in rounds for point in chosen if point is not None][:most]


def counted(points: Iterable[Point]) -> dict[tuple[str, str, str], int]:
    """Return the number of points by course, life and fault."""
    return dict(sorted(Counter((point.course, point.life, point.fault) for point in points).items()))
