"""Scan a directory for logs: each file is judged by its content."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lrwatch.core.names import primary, role
from lrwatch.core.sample import Axis
from lrwatch.errors import LrwatchError
from lrwatch.explain.hints import foreign, reason
from lrwatch.formats import FORMATS
from lrwatch.protocol import DESIRED_NAME, METRICS_NAME, OBSERVED_NAME
from lrwatch.sources.database import is_database
from lrwatch.sources.discover import MAX_DEPTH
from lrwatch.sources.log_identity import CONTROL_NAME, is_control
from lrwatch.sources.reader import beginning
from lrwatch.sources.table import read

# Files that are scanned, some 20 ms each, in all directories together. A run writes tens.
MAX_FILES = 500
# Bytes at the beginning of a file that show whether it is text.
_FIRST_BYTES = 4096

_OWN = frozenset({DESIRED_NAME, OBSERVED_NAME, "lrwatch.toml"})
_NO_LOG = "no metric in it"


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """Result of scanning one file.

    Attributes:
        path: The file.
        format: Name of its format, or None where nothing understands it.
        rows: Records with samples, in its beginning where it is long.
        axis: What its steps count.
        metrics: Metric to number of samples.
        problem: Why it is no log, or "".
        total_steps: Length of the run that it states, counted on its axis; 0 where it states none.
    """

    path: Path
    format: str | None = None
    rows: int = 0
    axis: Axis = "record"
    metrics: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    total_steps: int = 0

    @property
    def loss(self) -> str | None:
        """The metric that would be watched in it."""
        return primary(self.metrics)


def files(directory: Path) -> tuple[list[Path], str]:
    """List the regular files at or below `directory`, without hidden ones and those of lrwatch itself, and tell what was left out, a sentence or "".

    Raises:
        OSError: The directory cannot be listed.
    """
    found: list[Path] = []
    level = [directory]
    for _ in range(MAX_DEPTH + 1):
        below: list[Path] = []
        for place in level:
            try:
                entries = sorted(os.scandir(place), key=lambda entry: entry.name)
            except OSError:
                if place == directory:
                    raise
                continue
            is_ours = place.name == CONTROL_NAME or is_control(place)
            for entry in entries:
                if entry.name.startswith(".") or entry.name in _OWN or (is_ours and entry.name != METRICS_NAME):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(Path(entry.path))
                elif entry.is_file():
                    found.append(Path(entry.path))
                    if len(found) >= MAX_FILES:
                        return found, f"only the first {MAX_FILES} files were looked at"
        level = below
    return found, f"directories more than {MAX_DEPTH} levels deep were not looked at" if level else ""


def scan(path: Path) -> ScannedFile:
    """Judge a file by its content. Never raises for what lies in it."""
    try:
        head = beginning(path, _FIRST_BYTES)
        if not head.strip():
            return ScannedFile(path, problem="empty")
        is_log = is_database(head) or any(format_.claims(head) for format_ in FORMATS)
        if not is_log and (other := foreign(head)) is not None:
            return ScannedFile(path, problem=other[0])
        if not is_log and head.count(b"\0") * 10 > len(head):
            return ScannedFile(path, problem=reason(head))
        reading = read(path, only_beginning=True)
    except (OSError, EOFError, LrwatchError) as error:
        found = error.found if isinstance(error, LrwatchError) else getattr(error, "strerror", None) or str(error)
        return ScannedFile(path, problem=found)
    metrics = {name: len(column.values) for name, column in reading.columns().items() if role(name) != "epoch"}
    if not metrics:
        return ScannedFile(path, problem="a database of another kind" if reading.problem else _NO_LOG)
    return ScannedFile(path, reading.format, reading.rows, reading.axis, metrics, total_steps=reading.total_steps)
