"""Paths as the user gives them into runs, their logs and their control directories.

A file is a run of its own. A directory that has logs in it is one run with all of them; one that has none is searched for
such directories, each a run. A pattern stands for each of its matches. Looking again later finds what has come.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrwatch.protocol import DESIRED_NAME, METRICS_NAME, OBSERVED_NAME

CONTROL_NAME = "lrwatch"
"""Name of a run's control directory within the run's directory."""

_LOG_ENDINGS = frozenset({".jsonl", ".json", ".csv", ".tsv", ".log", ".txt", ".out"})
_OWN_NAMES = frozenset({DESIRED_NAME, OBSERVED_NAME})

# Logs of one run. A run writes a handful; a directory with more of them is a collection, and each is read to no use.
MAX_LOGS = 32
# Levels of directories below the one that was given: experiment, version, seed, and one to spare.
MAX_DEPTH = 4
# Directories that are looked into in one search, so that `lrwatch run /` ends.
MAX_DIRECTORIES = 10_000


@dataclass(frozen=True, slots=True)
class Log:
    """One file to follow. Several logs may be of one run.

    Attributes:
        run: Name of the run.
        path: The file, absolute. It need not exist yet.
        control: The run's control directory. It need not exist.
    """

    run: str
    path: Path
    control: Path


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found.

    Attributes:
        logs: In the order of the paths given, logs of one run together.
        problems: What gave nothing, a sentence each.
    """

    logs: tuple[Log, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """A run that has no name yet: the file or directory that it is named after, its logs, its control directory."""

    home: Path
    logs: tuple[Path, ...]
    control: Path


def discover(paths: Iterable[str | os.PathLike[str]]) -> Discovery:
    """The runs that `paths` (files, directories, patterns) stand for.

    A file that does not exist is no error: it is waited for.
    """
    runs: list[_Run] = []
    problems: list[str] = []
    for given in paths:
        for path in _matches(os.fspath(given), problems):
            runs.extend(_runs(path, problems))
    unique: dict[Path, _Run] = {}
    for run in runs:
        unique.setdefault(run.home, run)
    names = _names([run.home for run in unique.values()])
    logs: dict[str, Log] = {}
    for name, run in zip(names, unique.values(), strict=True):
        for path in run.logs:
            logs.setdefault(os.path.realpath(path), Log(name, path, run.control))
    return Discovery(tuple(logs.values()), tuple(problems))


def _matches(given: str, problems: list[str]) -> list[Path]:
    absolute = os.path.abspath(os.path.expanduser(given))  # noqa: PTH100, PTH111 - a symbolic link stays one
    if os.path.lexists(absolute) or not glob.has_magic(given):
        return [Path(absolute)]
    found = sorted(glob.glob(absolute, recursive=True))  # noqa: PTH207 - patterns may be absolute
    if not found:
        problems.append(f"{given}: no file or directory matches this pattern yet")
    return [Path(path) for path in found]


def _runs(path: Path, problems: list[str]) -> list[_Run]:
    """The runs that one existing or missing path stands for."""
    if path.is_dir():
        home = path.parent if path.name == CONTROL_NAME or _is_control(path) else path
        found = list(_search(home, problems))
        if not found:
            endings = ", ".join(f"*{ending}" for ending in sorted(_LOG_ENDINGS))
            problems.append(f"{path}: no logs ({endings}) in this directory or {MAX_DEPTH} levels below it yet")
        return found
    if _is_control(path.parent):
        home = path.parent.parent
        return [_Run(home, (path,), path.parent)]
    control = path.parent / CONTROL_NAME
    return [_Run(path, (*_client_log(control), path), control)]


def _is_control(directory: Path) -> bool:
    return any((directory / name).is_file() for name in _OWN_NAMES)


def _client_log(control: Path) -> list[Path]:
    log = control / METRICS_NAME
    return [log] if log.is_file() else []


def _search(top: Path, problems: list[str]) -> Iterator[_Run]:
    """The directories with logs at or below `top`; what lies below such a directory is part of its run."""
    level = [top]
    looked = 0
    for _ in range(MAX_DEPTH + 1):
        below: list[Path] = []
        for directory in level:
            looked += 1
            if looked > MAX_DIRECTORIES:
                problems.append(f"{top}: only the first {MAX_DIRECTORIES} directories were searched")
                return
            try:
                entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
            except OSError as error:
                problems.append(f"{directory}: cannot be listed ({error.strerror})")
                continue
            visible = [entry for entry in entries if not entry.name.startswith(".")]
            logs = [Path(entry.path) for entry in visible if _is_log(entry)]
            if len(logs) > MAX_LOGS:
                problems.append(f"{directory}: only the first {MAX_LOGS} of {len(logs)} logs are followed")
            control = directory / CONTROL_NAME
            if of_run := (*_client_log(control), *logs[:MAX_LOGS]):
                yield _Run(directory, of_run, control)
            else:
                below.extend(Path(entry.path) for entry in visible if entry.is_dir(follow_symlinks=False))
        level = below


def _is_log(entry: os.DirEntry[str]) -> bool:
    return Path(entry.name).suffix.lower() in _LOG_ENDINGS and entry.name not in _OWN_NAMES and entry.is_file()


def _names(homes: Sequence[Path]) -> list[str]:
    """A name for each run: as short as possible, and each only once.

    A file is called by its name without the ending, and with as many directories in front as it takes; two files that
    differ in their ending only keep it.
    """
    spellings = [[_spelled(home, parts) for parts in range(1, len(home.parts) + 1)] for home in homes]
    for home, spelled in zip(homes, spellings, strict=True):
        spelled.append(str(home))
    chosen = [0] * len(homes)
    while True:
        names = [spelled[i] for spelled, i in zip(spellings, chosen, strict=True)]
        uses = Counter(names)
        clashing = [i for i, name in enumerate(names) if uses[name] > 1]
        if not clashing:
            return names
        for i in clashing:
            chosen[i] = min(chosen[i] + 1, len(spellings[i]) - 1)


def _spelled(home: Path, parts: int) -> str:
    bare = home.with_suffix("") if home.suffix.lower() in _LOG_ENDINGS else home
    return "/".join(part for part in bare.parts[-parts:] if part != home.anchor) or str(home)
