"""What the name and the place of a file say about the log that it is part of."""

from __future__ import annotations

import math
import os
from pathlib import Path

from lrwatch.protocol import DESIRED_NAME, METRICS_NAME, OBSERVED_NAME, ROTATED_NAME

CONTROL_NAME = "lrwatch"
"""Name of a run's control directory within the run's directory."""

EVENTS = "tfevents"
"""What the name of an event file of TensorBoard contains."""

MLFLOW_MARK, MLFLOW_METRICS = "meta.yaml", "metrics"
"""What the directory of an MLflow run holds: a file, and a directory with a log for each metric."""


def is_control(directory: Path) -> bool:
    """Whether a directory is a control directory: lrwatch or its client has written there."""
    return any(os.path.isfile(directory / name) for name in (DESIRED_NAME, OBSERVED_NAME))  # noqa: PTH113


def log_of(path: str | os.PathLike[str]) -> str:
    """Return the identity of a log: its path.

    All event files of a directory are one log: a training begins another file whenever it is resumed. TensorBoard reads
    them so too. So are the files of an MLflow run, one a metric.
    """
    for parent in Path(path).parents:
        if parent.name == MLFLOW_METRICS and os.path.isfile(parent.parent / MLFLOW_MARK):  # noqa: PTH113
            return str(parent)
    directory, name = os.path.split(os.fspath(path))
    return os.path.join(directory, EVENTS) if EVENTS in name else os.fspath(path)  # noqa: PTH118


def is_in_parts(path: str | os.PathLike[str]) -> bool:
    """Whether a log goes on in a next file of its directory, which is read when this one is at its end."""
    return EVENTS in os.path.basename(path)  # noqa: PTH119


def is_written_from_the_start(path: str | os.PathLike[str]) -> bool:
    """Whether the name alone says that this is a log, of a writer that opens it before its first record is there."""
    name = os.path.basename(os.fspath(path))  # noqa: PTH119
    return EVENTS in name or name.endswith(".wandb")


def is_client_log(path: Path) -> bool:
    """Whether lrwatch's client writes this log: it lies in a control directory under the client's name."""
    return path.name == METRICS_NAME and (path.parent.name == CONTROL_NAME or is_control(path.parent))


def rotated_of(path: Path) -> Path | None:
    """Return where the writer of a log puts its older half, or None where that is not known.

    Only of the client's log is it known: what others rotate may lie anywhere, and `Tail` finds it by its inode.
    """
    return path.with_name(ROTATED_NAME) if is_client_log(path) else None


def seconds_since_written(path: Path, now: float) -> float:
    """Return the age of what was written last to a log, in seconds before `now`; infinite where it is gone.

    Args:
        path: The log. A database with a write-ahead log is written there.
        now: Seconds since the epoch.
    """
    written = [time for name in (os.fspath(path), f"{path}-wal") if (time := _written(name)) is not None]
    return now - max(written, default=-math.inf)


def _written(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime  # noqa: PTH116
    except OSError:  # missing, or not to be read: its reader says so
        return None
