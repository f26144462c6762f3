"""The metrics file: what the training told, one JSON object a line, appended by the worker thread."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Sequence

from lrwatch.client.handoff import Record
from lrwatch.protocol import METRICS_NAME

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class MetricsFile:
    """Appends records to `metrics.jsonl`.

    The file is opened for each batch, so that it may be moved away or deleted at any time. A line that an earlier
    process left unfinished is ended first; what a full disk did not take is kept and written first the next time.

    Attributes:
        errors: What was survived, by reason.
        unsaved: Lines that were not written yet.
    """

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.unsaved = 0
        self._rest = b""
        self._within_line = False

    @property
    def ready(self) -> bool:
        """Whether everything that was given has been written."""
        return not self._rest

    def append(self, folder: int, records: Sequence[Record]) -> None:
        """Write the records, after whatever is left from before.

        Args:
            folder: Descriptor of the control directory.
            records: In the order of the training.

        Raises:
            OSError: Not everything could be written; it is kept.
        """
        self._rest += b"".join(self._line(record) for record in records)
        self.unsaved += len(records)
        if not self._rest:
            return
        handle = os.open(METRICS_NAME, _FLAGS, 0o600, dir_fd=folder)
        try:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise OSError(f"{METRICS_NAME} is not a regular file")
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
        content: dict[str, float] = {}
        known = {"scale": record.scale} if record.lr is None else {"lr": record.lr, "scale": record.scale}
        for name, value in (known | record.metrics).items():
            number = _number(value)
            if number is None:
                self.errors["metric"] += 1
            else:
                content[name] = number
        content["step"] = record.step
        content["time"] = round(record.time, 6)
        return json.dumps(content).encode("ascii") + b"\n"


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  a metric may be of any type, and its float() may raise anything
        return None
