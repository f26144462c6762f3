"""Discover runs, their logs and their control directories below the paths that the user gives.

A file is a run of its own, whatever its name; its content says later what it is. A directory that has logs in it is one
run with all of them; one that has none is searched for such directories, each a run. A pattern stands for each of its
matches, and `-` for standard input. A later search finds what was added.

In a directory, and below a pattern that ends with nothing but a wildcard (`runs/*`, `runs/**`), only names are looked at,
because a run's directory is full of other files:

==========================================  =========================================================================
is a log                                    `*.jsonl *.json *.csv *.tsv *.log *.txt *.out`, databases (`*.db *.sqlite
                                            *.sqlite3`), `*.wandb`, and event files (`*tfevents*`, whatever follows)
is no log                                   what begins with a dot, the files of lrwatch, and by their names
                                            configurations, vocabularies, summaries, wandb's own logs
a directory with `meta.yaml` and `metrics`  a run of MLflow: its logs are the files below `metrics`, which have no ending
==========================================  =========================================================================
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lrwatch.core.names import role
from lrwatch.protocol import DESIRED_NAME, METRICS_NAME, OBSERVED_NAME
from lrwatch.sources.stdin import STDIN

CONTROL_NAME = "lrwatch"
"""Name of a run's control directory within the run's directory."""

STDIN_RUN = "stdin"
"""Name of the run of standard input; its control directory lies in the working directory."""

_LOG_ENDINGS = frozenset({
    ".jsonl", ".json", ".csv", ".tsv", ".log", ".txt", ".out", ".db", ".sqlite", ".sqlite3", ".wandb",
})  # fmt: skip
_EVENTS = "tfevents"
_OWN_NAMES = frozenset({DESIRED_NAME, OBSERVED_NAME, "lrwatch.sqlite"})
# Files with the ending of a log that have no history in them, by the names that frameworks give them.
_NO_LOG = re.compile(
    r"(package(-lock)?|.*config.*|.*tokens?_map.*|.*token(s|izer).*|vocab|merges|.*\.index|args|.*params|(.*[-_])?meta(data)?"
    r"|.*[-_]summary|manifest|settings|.*_results|(dataset|run)_?info|run)\.json"
    r"|(requirements.*|readme|licen[cs]e|notice|merges|vocab|labels|classes)\.txt"
    r"|debug(-internal|-core|-cli\..*)?\.log|.*\.profile-empty",
    re.IGNORECASE,
)
# Roles of the metrics that a run needs: the others can be left out where there are too many.
_ESSENTIAL = frozenset({"train_loss", "val_loss", "lr"})
_MLFLOW_MARK, _MLFLOW_METRICS = "meta.yaml", "metrics"

# Logs of one run. A run writes a handful; a directory with more of them is a collection, and each is read to no use.
MAX_LOGS = 32
# Levels of directories below the one that was given: experiment, version, seed, and one to spare.
MAX_DEPTH = 4
# Directories that one search lists, so that `lrwatch run /` ends.
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
    """Result of one search.

    Attributes:
        logs: In the order of the given paths, logs of one run together.
        problems: The paths without a log, a sentence each.
    """

    logs: tuple[Log, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """A run without a name yet: the file or directory that will name it, its logs, its control directory."""

    home: str
    logs: tuple[str, ...]
    control: Path


def discover(paths: Iterable[str | os.PathLike[str]]) -> Discovery:
    """Find the runs below `paths` (files, directories, patterns, `-`).

    A file that does not exist yet is no error: its run waits for it.
    """
    search = _Discovery()
    stdin: list[Log] = []
    for path_or_pattern in paths:
        given = os.fspath(path_or_pattern)
        if given == str(STDIN):
            stdin = [Log(STDIN_RUN, STDIN, Path.cwd() / CONTROL_NAME)]
            continue
        for path in search.matches(given):
            search.look(path)
    logs: dict[str, Log] = {}
    for name, run in zip(_names([*search.runs]), search.runs.values(), strict=True):
        for path in run.logs:
            logs.setdefault(search.real(path), Log(name, Path(path), run.control))
    return Discovery((*stdin, *logs.values()), tuple(search.problems))


class _Discovery:
    """One search. Ten thousand files lie in few directories, so each directory is examined once.

    Attributes:
        runs: The found runs, by the file or directory that names them.
        problems: The paths without a log, a sentence each.
    """

    def __init__(self) -> None:
        self.runs: dict[str, _Run] = {}
        self.problems: list[str] = []
        self._beside = cache(_beside)
        self._real_directory = cache(os.path.realpath)

    def real(self, path: str) -> str:
        """Return the path without symbolic links."""
        if os.path.islink(path):  # noqa: PTH114 - paths are strings here, for there are many
            return os.path.realpath(path)
        directory, name = os.path.split(path)
        return os.path.join(self._real_directory(directory), name)  # noqa: PTH118

    def matches(self, given: str) -> list[str]:
        """Return the paths that match a path or a pattern."""
        absolute = os.path.abspath(os.path.expanduser(given))  # noqa: PTH100, PTH111 - a symbolic link stays one
        if os.path.lexists(absolute) or not glob.has_magic(given):
            return [absolute]
        found = sorted(glob.glob(absolute, recursive=True))  # noqa: PTH207 - patterns may be absolute
        found = [path for path in found if not path.endswith(os.sep)]  # the directory above `**` is no match of it
        if os.path.basename(given) in ("*", "**"):  # noqa: PTH119
            found = [path for path in found if _is_named_log(os.path.basename(path)) or os.path.isdir(path)]  # noqa: PTH112, PTH119
        if not found:
            self.problems.append(f"{given}: no file or directory matches this pattern yet")
        return found

    def look(self, path: str) -> None:
        """Find the runs that one existing or missing path stands for."""
        if os.path.isdir(path):  # noqa: PTH112
            self._look_into(Path(path))
            return
        parent = os.path.dirname(path)  # noqa: PTH120
        is_control, control, client_log = self._beside(parent)
        if is_control:
            self._add(_Run(os.path.dirname(parent), (path,), Path(parent)))  # noqa: PTH120
        else:
            self._add(_Run(path, (*client_log, path), control))

    def _look_into(self, path: Path) -> None:
        home = path.parent if path.name == CONTROL_NAME or _is_control(path) else path
        found = list(self._below(home))
        for run in found:
            self._add(run)
        if not found:
            endings = ", ".join(f"*{ending}" for ending in sorted(_LOG_ENDINGS))
            self.problems.append(
                f"{path}: no logs ({endings}, *{_EVENTS}*) in this directory or {MAX_DEPTH} levels below it yet"
            )

    def _add(self, run: _Run) -> None:
        self.runs.setdefault(run.home, run)

    def _below(self, top: Path) -> Iterator[_Run]:
        """Yield the directories with logs at or below `top`; what lies below such a directory is part of its run."""
        level = [top]
        looked = 0
        for _ in range(MAX_DEPTH + 1):
            below: list[Path] = []
            for directory in level:
                looked += 1
                if looked > MAX_DIRECTORIES:
                    self.problems.append(f"{top}: only the first {MAX_DIRECTORIES} directories were searched")
                    return
                try:
                    entries = _visible(directory)
                except OSError as error:
                    self.problems.append(f"{directory}: cannot be listed ({error.strerror})")
                    continue
                names = {entry.name for entry in entries}
                mlflow = {_MLFLOW_MARK, _MLFLOW_METRICS} <= names
                logs = self._mlflow_logs(directory / _MLFLOW_METRICS) if mlflow else _logs(entries)
                if len(logs) > MAX_LOGS:
                    self.problems.append(f"{directory}: only the first {MAX_LOGS} of {len(logs)} logs are followed")
                _, control, client_log = _beside(str(directory))
                if of_run := (*client_log, *_in_order(logs[:MAX_LOGS])):
                    yield _Run(str(directory), of_run, control)
                elif not mlflow:
                    below.extend(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
            level = below

    def _mlflow_logs(self, metrics: Path) -> list[str]:
        """List the files of an MLflow run, one a metric, in directories where its name has slashes; losses and rates first."""
        found: list[str] = []
        level = [metrics]
        for _ in range(MAX_DEPTH):
            try:
                entries = [entry for directory in level for entry in _visible(directory)]
            except OSError as error:
                self.problems.append(f"{metrics}: cannot be listed ({error.strerror})")
                break
            found += [entry.path for entry in entries if entry.is_file()]
            level = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted(found, key=lambda path: (role(os.path.relpath(path, metrics)) not in _ESSENTIAL, path))


def _beside(directory: str) -> tuple[bool, Path, list[str]]:
    """Whether `directory` is a control directory; of a run in it the control directory and the client's log there."""
    control = Path(directory, CONTROL_NAME)
    log = control / METRICS_NAME
    return _is_control(Path(directory)), control, [str(log)] if log.is_file() else []


def _is_control(directory: Path) -> bool:
    return any((directory / name).is_file() for name in (DESIRED_NAME, OBSERVED_NAME))


def _visible(directory: Path) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _logs(entries: Iterable[os.DirEntry[str]]) -> list[str]:
    """List the logs among the files of a directory. A restarted run begins another event file: of too many the newest count."""
    logs = [entry for entry in entries if _is_log(entry)]
    events = [entry.path for entry in logs if _EVENTS in entry.name]
    others = [entry.path for entry in logs if _EVENTS not in entry.name]
    return others + events[::-1]


def _in_order(logs: Iterable[str]) -> list[str]:
    """Sort logs; the event files of a directory continue each other, the oldest first."""
    return sorted(logs, key=lambda path: (log_of(path) != path, path if log_of(path) != path else ""))


def log_of(path: str | os.PathLike[str]) -> str:
    """Return the identity of a log: its path.

    All event files of a directory are one log: a training begins another file whenever it is resumed. TensorBoard reads
    them so too. So are the files of an MLflow run, one a metric.
    """
    for parent in Path(path).parents:
        if parent.name == _MLFLOW_METRICS and (parent.parent / _MLFLOW_MARK).is_file():
            return str(parent)
    directory, name = os.path.split(os.fspath(path))
    return os.path.join(directory, _EVENTS) if _EVENTS in name else os.fspath(path)  # noqa: PTH118


def is_in_parts(path: str | os.PathLike[str]) -> bool:
    """Whether a log goes on in a next file of its directory, which is read when this one is at its end."""
    return _EVENTS in os.path.basename(path)  # noqa: PTH119


def is_written_from_the_start(path: str | os.PathLike[str]) -> bool:
    """Whether the name alone says that this is a log, of a writer that opens it before its first record is there."""
    name = os.path.basename(os.fspath(path))  # noqa: PTH119
    return _EVENTS in name or name.endswith(".wandb")


def is_client_log(path: Path) -> bool:
    """Whether lrwatch's client writes this log: it lies in a control directory under the client's name."""
    return path.name == METRICS_NAME and (path.parent.name == CONTROL_NAME or _is_control(path.parent))


def seconds_since_written(path: Path, now: float) -> float:
    """Return the age of what was written last to a log, in seconds before `now`; 0 where it cannot be known.

    Args:
        path: The log. A database with a write-ahead log is written there.
        now: Seconds since the epoch.
    """
    written = []
    for name in (os.fspath(path), f"{path}-wal"):
        try:
            written.append(os.stat(name).st_mtime)  # noqa: PTH116
        except OSError:  # missing, or not to be read: reading it says so
            continue
    return now - max(written) if written else 0.0


def _is_log(entry: os.DirEntry[str]) -> bool:
    return _is_named_log(entry.name) and entry.is_file()


def _is_named_log(name: str) -> bool:
    named = _EVENTS in name or os.path.splitext(name)[1].lower() in _LOG_ENDINGS  # noqa: PTH122
    return named and name not in _OWN_NAMES and not _NO_LOG.fullmatch(name)


def _names(homes: Sequence[str]) -> list[str]:
    """Return a name for each run: as short as possible, and unique.

    A file is called by its name without the ending, after as many directories as it takes; two files that differ in
    their ending only keep it.
    """
    names = [_spelled(home, 1) for home in homes]
    parts = [1] * len(homes)
    clashing = _doubles(names)
    while clashing:
        for i in clashing:
            parts[i] += 1
            names[i] = _spelled(homes[i], parts[i])
        clashing = [i for i in _doubles(names) if names[i] != homes[i]]
    return names


def _doubles(names: Sequence[str]) -> list[int]:
    uses = Counter(names)
    return [i for i, name in enumerate(names) if uses[name] > 1]


def _spelled(home: str, parts: int) -> str:
    """Return the last `parts` parts of a path, without the ending of a log; the whole path if it has no more."""
    bare, ending = os.path.splitext(home)  # noqa: PTH122
    split = (bare if ending.lower() in _LOG_ENDINGS else home).split(os.sep)  # noqa: PTH206
    return "/".join(split[-parts:]) if parts < len(split) and split[-1] else home
