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
`checkpoint-*/trainer_state.json`           belong to the run of the directory with the checkpoints; the newest are read,
                                            and the event files in its `runs/*`
`attempt_*/RANK/stdout.log`, `stderr.log`   torchrun's: they belong to the run of the directory with the attempts
a control directory                         belongs to the run of the directory in which it lies, whatever its name. Of
                                            its files only the client's metrics are a log; given by itself, it is a run
                                            with that log alone
==========================================  =========================================================================

Which of several logs of one run a value is taken from is decided in `lrwatch.sources.ownership`.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from lrwatch.protocol import DESIRED_NAME, METRICS_NAME, OBSERVED_NAME
from lrwatch.sources import layouts
from lrwatch.sources.log_identity import CONTROL_NAME, EVENTS, MLFLOW_MARK, MLFLOW_METRICS, is_control, is_in_parts
from lrwatch.sources.stdin import STDIN

STDIN_RUN = "stdin"
"""Name of the run of standard input; its control directory lies in the working directory."""

_LOG_ENDINGS = frozenset({
    ".jsonl", ".json", ".csv", ".tsv", ".log", ".txt", ".out", ".db", ".sqlite", ".sqlite3", ".wandb",
})  # fmt: skip
_OWN_NAMES = frozenset({DESIRED_NAME, OBSERVED_NAME, "lrwatch.sqlite", "lrwatch.toml"})
# Files with the ending of a log that have no history in them, by the names that frameworks give them.
_NO_LOG = re.compile(
    r"(package(-lock)?|.*config.*|.*tokens?_map.*|.*token(s|izer).*|vocab|merges|.*\.index|args|.*params|(.*[-_])?meta(data)?"
    r"|.*[-_]summary|manifest|settings|.*_results|(dataset|run)_?info|run)\.json"
    r"|(requirements.*|readme|licen[cs]e|notice|merges|vocab|labels|classes)\.txt"
    r"|debug(-internal|-core|-cli\..*)?\.log|.*\.profile-empty",
    re.IGNORECASE,
)
# Directories that only root may list, and that are no runs.
_NO_RUNS = frozenset({"lost+found"})

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
        up: Whether something to read was found there, by the path as it was given.
    """

    logs: tuple[Log, ...]
    problems: tuple[str, ...]
    up: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Run:
    """A run without a name yet: the file or directory that will name it, its logs, its control directory."""

    home: str
    logs: tuple[str, ...]
    control: Path


def discover(paths: Iterable[str | os.PathLike[str]], control: str = "") -> Discovery:
    """Find the runs below `paths` (files, directories, patterns, `-`).

    A control directory that is given for the one run of these paths is a source too: a trainer that writes nothing but the
    client's metrics is a run, and what it writes below `paths` later belongs to it.

    A file that does not exist yet is no error: its run waits for it. Neither is one that this user may not read: it is a log
    of its run all the same, whose reader says so. A path that cannot be searched is a problem of that path alone.
    """
    search = _Discovery(Path(control) if control else None)
    stdin: list[Log] = []
    up: dict[str, bool] = {}
    for path_or_pattern in paths:
        given = os.fspath(path_or_pattern)
        if given == str(STDIN):
            stdin = [Log(STDIN_RUN, STDIN, Path.cwd() / CONTROL_NAME)]
            up[given] = True
            continue
        try:
            up[given] = any([search.look(path) for path in search.matches(given)])  # a list: each is looked at
        except OSError as error:
            up[given] = False
            search.problems.append(f"{given}: cannot be searched ({error.strerror or error})")
    if not stdin:
        search.join_client_log()
    logs: dict[str, Log] = {}
    for name, run in zip(_names([*search.runs]), search.runs.values(), strict=True):
        for path in run.logs:
            logs.setdefault(search.real(path), Log(name, Path(path), run.control))
    return Discovery((*stdin, *logs.values()), tuple(search.problems), up)


class _Discovery:
    """One search. Ten thousand files lie in few directories, so each directory is examined once.

    Args:
        control: The control directory of the one run that is looked for, wherever it lies, or None.

    Attributes:
        runs: The found runs, by the file or directory that names them.
        problems: The paths without a log, a sentence each.
    """

    def __init__(self, control: Path | None) -> None:
        self.runs: dict[str, _Run] = {}
        self.problems: list[str] = []
        self._control = control
        self._client_log = (
            "" if control is None or not _may_be_file(control / METRICS_NAME) else str(control / METRICS_NAME)
        )
        self._beside = cache(_beside)
        self._real_directory = cache(os.path.realpath)

    def real(self, path: str) -> str:
        """Return the path without symbolic links."""
        if os.path.islink(path):  # noqa: PTH114 - paths are strings here, for there are many
            return os.path.realpath(path)
        directory, name = os.path.split(path)
        return os.path.join(self._real_directory(directory), name)  # noqa: PTH118

    def join_client_log(self) -> None:
        """Add the client's metrics of the given control directory to the run that was found, or as a run of its own."""
        if self._control is None or not self._client_log or len(self.runs) > 1:
            return
        for run in self.runs.values():
            self.runs[run.home] = _Run(run.home, tuple(dict.fromkeys((self._client_log, *run.logs))), run.control)
            return
        home = self._control.parent if self._control.name == CONTROL_NAME else self._control
        self._add(_Run(str(home), (self._client_log,), self._control))

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

    def look(self, path: str) -> bool:
        """Find the runs that one existing or missing path stands for, and return whether there is something to read."""
        if os.path.isdir(path):  # noqa: PTH112
            return self._look_into(Path(path))
        parent = os.path.dirname(path)  # noqa: PTH120
        is_control, control, client_log = self._beside(parent)
        if is_control:
            self._add(_Run(os.path.dirname(parent), (path,), Path(parent)))  # noqa: PTH120
        else:
            self._add(_Run(path, (*client_log, path), control))
        return os.access(path, os.R_OK)

    def _look_into(self, path: Path) -> bool:
        said = len(self.problems)
        if path.name == CONTROL_NAME or is_control(path):
            log = path / METRICS_NAME
            found = [] if _may_be_file(log) else list(self._below(path.parent))
            found = found or [_Run(str(path.parent), (str(log),), path)]
        else:
            found = list(self._below(path))
        for run in found:
            self._add(run)
        if not (found or self._client_log) and len(self.problems) == said:
            endings = ", ".join(f"*{ending}" for ending in sorted(_LOG_ENDINGS))
            self.problems.append(
                f"{path}: no logs ({endings}, *{EVENTS}*) in this directory or {MAX_DEPTH} levels below it yet"
            )
        return bool(found or self._client_log)

    def _add(self, run: _Run) -> None:
        known = self.runs.setdefault(run.home, run)
        if known is not run:
            self.runs[run.home] = _Run(run.home, tuple(dict.fromkeys((*known.logs, *run.logs))), known.control)

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
                except PermissionError as error:
                    if directory == top:
                        self.problems.append(f"{directory}: cannot be listed ({error.strerror})")
                    elif directory.name not in _NO_RUNS:  # a run, as far as anybody can tell from here
                        control = directory / CONTROL_NAME
                        yield _Run(str(directory), (str(control / METRICS_NAME),), control)
                    continue
                except OSError as error:
                    self.problems.append(f"{directory}: cannot be listed ({error.strerror})")
                    continue
                directories = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
                names = {entry.name for entry in entries}
                mlflow = {MLFLOW_MARK, MLFLOW_METRICS} <= names
                logs = layouts.mlflow_logs(directory / MLFLOW_METRICS, self._list) if mlflow else _logs(entries)
                logs += layouts.attempts(directories, self._list)
                logs += layouts.trainer_logs(directory, directories, self._list)
                if len(logs) > MAX_LOGS:
                    self.problems.append(f"{directory}: only the first {MAX_LOGS} of {len(logs)} logs are followed")
                control, client_log = _control_in(directory, directories)
                if os.path.isdir(control) and not os.access(control, os.R_OK | os.X_OK, effective_ids=True):  # noqa: PTH112
                    self.problems.append(
                        f"{control}: may not be read by this user, so the client's own metrics are not followed"
                    )
                if not (client_log or logs) and _may_be_file(control / METRICS_NAME):  # a run of another user's
                    client_log = [str(control / METRICS_NAME)]
                if of_run := (*client_log, *_in_order(logs[:MAX_LOGS])):
                    yield _Run(str(directory), of_run, control)
                elif not mlflow:
                    below.extend(Path(entry.path) for entry in directories)
            level = below

    def _list(self, directory: Path) -> list[os.DirEntry[str]]:
        try:
            return _visible(directory)
        except OSError as error:
            self.problems.append(f"{directory}: cannot be listed ({error.strerror})")
            return []


def _beside(directory: str) -> tuple[bool, Path, list[str]]:
    """Whether `directory` is a control directory; of a run in it the control directory and the client's log there."""
    control = Path(directory, CONTROL_NAME)
    return is_control(Path(directory)), control, _client_log(control)


def _control_in(directory: Path, directories: Sequence[os.DirEntry[str]]) -> tuple[Path, list[str]]:
    """Return the control directory of a run in `directory`, and the client's log there; one of another name counts too."""
    usual = directory / CONTROL_NAME
    others = (Path(entry.path) for entry in directories[:MAX_LOGS] if entry.name != CONTROL_NAME)
    control = usual if os.path.isdir(usual) else next(filter(is_control, others), usual)  # noqa: PTH112
    return control, _client_log(control)


def _client_log(control: Path) -> list[str]:
    log = os.path.join(control, METRICS_NAME)  # noqa: PTH118
    return [log] if os.path.isfile(log) else []  # noqa: PTH113 - false where it may not be read


def _may_be_file(path: Path) -> bool:
    """Whether this is a file, or lies where this user may not look: a control directory has mode 0700."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except PermissionError:
        return True
    except OSError:
        return False


def _visible(directory: Path) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _logs(entries: Iterable[os.DirEntry[str]]) -> list[str]:
    """List the logs among the files of a directory. A restarted run begins another event file: of too many the newest count."""
    logs = [entry for entry in entries if _is_log(entry)]
    events = [entry.path for entry in logs if EVENTS in entry.name]
    others = [entry.path for entry in logs if EVENTS not in entry.name]
    return sorted(others, key=layouts.natural) + events[::-1]


def _in_order(logs: Iterable[str]) -> list[str]:
    """Sort logs: files that continue each other come one after the other, the oldest first."""
    listed = list(logs)
    events = sorted(path for path in listed if is_in_parts(path))
    attempts = {path for path in listed if path.endswith(layouts.ATTEMPT_LOGS)}
    others = [path for path in listed if not is_in_parts(path) and path not in attempts]
    return [*others, *sorted(attempts, key=layouts.natural), *events]


def _is_log(entry: os.DirEntry[str]) -> bool:
    return _is_named_log(entry.name) and layouts.is_file(entry)


def _is_named_log(name: str) -> bool:
    named = EVENTS in name or os.path.splitext(name)[1].lower() in _LOG_ENDINGS  # noqa: PTH122
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
