"""Where frameworks keep the logs of one training that lie in several files below its directory.

Hugging Face's Trainer writes the whole history into each checkpoint and begins an event file at each start; torchrun
keeps the output of each rank of each attempt; MLflow has a file for each metric. Each function takes a `listing`, which lists a
directory and answers with nothing, and a word to the user, where it cannot.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from lrwatch.core.names import role
from lrwatch.sources.log_identity import EVENTS

Entries = list[os.DirEntry[str]]
Listing = Callable[[Path], Entries]

ATTEMPT_LOGS = ("stdout.log", "stderr.log")
"""What torchrun keeps of a rank."""

# Checkpoints whose state is read: each has all of the history, and the oldest are deleted.
MAX_CHECKPOINTS = 2

_CHECKPOINT = re.compile(r"checkpoint[-_]\d+")
_CHECKPOINT_LOG = "trainer_state.json"
_ATTEMPT = re.compile(r"attempt_\d+")

# Roles of the metrics that a run needs: the others can be left out where there are too many.
_ESSENTIAL = frozenset({"train_loss", "val_loss", "lr"})

# Levels of directories of MLflow's metrics: a level for each slash in a name.
_MAX_LEVELS = 4


def trainer_logs(directory: Path, directories: Iterable[os.DirEntry[str]], listing: Listing) -> list[str]:
    """List the histories in the newest checkpoints of Hugging Face's Trainer, and the event files beside them."""
    found = [os.path.join(entry.path, _CHECKPOINT_LOG) for entry in directories if _CHECKPOINT.fullmatch(entry.name)]  # noqa: PTH118
    histories = sorted(filter(os.path.isfile, found), key=natural)[-MAX_CHECKPOINTS:]
    runs = directory / "runs"
    if not histories or not os.path.isdir(runs):  # noqa: PTH112
        return histories
    starts = [entry.path for entry in listing(runs) if entry.is_dir()]
    events = [entry.path for start in starts for entry in listing(Path(start)) if EVENTS in entry.name]
    return histories + sorted(events, key=natural)[-MAX_CHECKPOINTS:]


def attempts(directories: Iterable[os.DirEntry[str]], listing: Listing) -> list[str]:
    """List what torchrun keeps of each rank of each attempt, the low ranks of the newest attempts first."""
    found: list[tuple[int, int, str]] = []
    for directory in directories:
        if _ATTEMPT.fullmatch(directory.name):
            number = int(directory.name.rpartition("_")[2])
            ranks = [entry for entry in listing(Path(directory.path)) if entry.name.isdigit()]
            logs = [(int(rank.name), f"{rank.path}/{name}") for rank in ranks for name in ATTEMPT_LOGS]
            found += [(-number, rank, path) for rank, path in logs if os.path.isfile(path)]  # noqa: PTH113
    return [path for _, _, path in sorted(found)]


def mlflow_logs(metrics: Path, listing: Listing) -> list[str]:
    """List the files of an MLflow run, one a metric, in directories where its name has slashes; losses and rates first."""
    found: list[str] = []
    level = [metrics]
    for _ in range(_MAX_LEVELS):
        entries = [entry for directory in level for entry in listing(directory)]
        found += [entry.path for entry in entries if is_file(entry)]
        level = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(found, key=lambda path: (role(os.path.relpath(path, metrics)) not in _ESSENTIAL, path))


def natural(path: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by their value."""
    return [(int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", path)]


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether this is a file; a link to where this user may not look is none."""
    try:
        return entry.is_file()
    except OSError:
        return False
