"""The metrics file: the metrics of the training, one JSON object a line, appended by the worker thread.

It is bounded. A file that has half of the bound is renamed to `metrics.jsonl.1`, in place of the older one of that name, and
a new one is begun: a run of any length keeps its newest lines, in two files of whole lines.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence

from lrwatch.protocol import METRICS_NAME, ROTATED_NAME
from lrwatch.protocol.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from lrwatch.client.handoff import Record

# Bound of both files together: at 100 bytes a step the last 600,000 steps, and little beside the checkpoints of a training.
METRICS_BYTES = 64 << 20
# A reader that polls every few seconds must not miss a whole file between two looks.
LEAST_METRICS_BYTES = 1 << 20

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class MetricsFile:
    """Appends records to `metrics.jsonl`.

    The file is opened for each batch, so that it may be moved away or deleted at any time. A line that an earlier
    process left unfinished is ended first. Lines that a full disk did not take are kept and written first the next time.

    Args:
        most_bytes: Bytes that the file and the one before it may have together. A single line that is longer than half of it
            is written all the same.

    Attributes:
        errors: Errors that were survived, by reason.
        unsaved: Number of lines that are not written yet.
    """

    def __init__(self, most_bytes: int = METRICS_BYTES) -> None:
        self.errors: Counter[str] = Counter()
        self._most = most_bytes // 2
        self.unsaved = 0
        self._rest = b""
        self._within_line = False
        self._begun = False

    @property
    def ready(self) -> bool:
        """Whether all records have been written."""
        return not self._rest

    def append(self, folder: int, records: Sequence[Record], *, begin: bool = False) -> None:
        """Write the records, after those that are left from before.

        Args:
            folder: Descriptor of the control directory.
            records: In the order of the training.
            begin: Whether to make the file before there are any, so that a reader of the logs of this training knows
                that this one will come.

        Raises:
            OSError: Not everything could be written; it is kept.
        """
        self._rest += b"".join(self._line(record) for record in records)
        self.unsaved += len(records)
        if not self._rest and (self._begun or not begin):
            return
        while self._append(folder):
            os.rename(METRICS_NAME, ROTATED_NAME, src_dir_fd=folder, dst_dir_fd=folder)
        self.unsaved = 0

    def _append(self, folder: int) -> bool:
        """Write what has room in the file. Return whether there is more, for the next file.

        Raises:
            OSError: Not everything that has room could be written.
        """
        handle = os.open(METRICS_NAME, _FLAGS, 0o600, dir_fd=folder)
        try:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise OSError(f"{METRICS_NAME} is not a regular file")
            if about.st_nlink > 1:
                raise OSError(f"{METRICS_NAME} has {about.st_nlink} names, so it may be a file of somebody else")
            if not self._begun:
                os.utime(handle)  # of an earlier training it may be old
                self._begun = True
            size = about.st_size
            if not self._within_line and size and os.pread(handle, 1, size - 1) != b"\n":
                os.write(handle, b"\n")
                size += 1
            while self._rest:
                end = self._end_of_part(size)
                if not end:
                    return True
                written = os.write(handle, self._rest[:end])
                self._within_line = self._rest[written - 1 : written] != b"\n"
                self._rest = self._rest[written:]
                size += written
            return False
        finally:
            os.close(handle)

    def _end_of_part(self, size: int) -> int:
        """Return how many of the waiting bytes go into a file of `size` bytes: whole lines, 0 where none has room."""
        end = self._rest.rfind(b"\n", 0, max(self._most - size, 0)) + 1
        if not end and (self._within_line or not size):  # a line is in one file
            end = self._rest.index(b"\n") + 1
        return end

    def _line(self, record: Record) -> bytes:
        import json  # too long to import before the training begins

        step, time, metrics, lr, scale = record
        content: dict[str, float] = {}
        own = {"scale": scale} if lr is None else {"lr": lr, "scale": scale}
        for name, value in (own | metrics).items():
            number = _number(value)
            if number is None:
                self.errors["metric"] += 1
            else:
                content[name] = number
        content["step"] = step
        content["time"] = round(time, 6)
        return json.dumps(content).encode("ascii") + b"\n"


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  a metric may be of any type, and its float() may raise anything
        return None
