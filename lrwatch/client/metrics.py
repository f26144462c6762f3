"""The metrics file: the metrics of the training, one JSON object a line, appended by the worker thread."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence

from lrwatch.protocol import METRICS_NAME
from lrwatch.protocol.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from lrwatch.client.handoff import Record

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class MetricsFile:
    """Appends records to `metrics.jsonl`.

    The file is opened for each batch, so that it may be moved away or deleted at any time. A line that an earlier
    process left unfinished is ended first. Lines that a full disk did not take are kept and written first the next time.

    Attributes:
        errors: Errors that were survived, by reason.
        unsaved: Number of lines that are not written yet.
    """

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
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
            begin: Whether to make the file before there are any, so that whoever reads the logs of this training knows
                that this one will come.

        Raises:
            OSError: Not everything could be written; it is kept.
        """
        self._rest += b"".join(self._line(record) for record in records)
        self.unsaved += len(records)
        if not self._rest and (self._begun or not begin):
            return
        handle = os.open(METRICS_NAME, _FLAGS, 0o600, dir_fd=folder)
        try:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise OSError(f"{METRICS_NAME} is not a regular file")
            if not self._begun:
                os.utime(handle)  # of an earlier training it may be old
                self._begun = True
            if not self._within_line and about.st_size and os.pread(handle, 1, about.st_size - 1) != b"\n":
                self._rest = b"\n" + self._rest
            while self._rest:
                written = os.write(handle, self._rest)
                self._within_line = self._rest[written - 1 : written] != b"\n"
                self._rest = self._rest[written:]
            self.unsaved = 0
        finally:
            os.close(handle)

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
