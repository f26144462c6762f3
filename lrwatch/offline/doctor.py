"""The diagnosis of an idle run: each obstacle, with what to do about it.

The run is as the daemon saved it last, judged by the settings in its journal; no log is read, nothing is claimed or written. A
path that no daemon watches is read to its end first, as `replay` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lrwatch.config import Config, WatchOptions
from lrwatch.core.options import DetectOptions, PolicyOptions, RunOptions
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.errors import InputError
from lrwatch.offline.examination import Cause, Examination
from lrwatch.sources.discover import discover
from lrwatch.store import Entry, Store


def of_run(name: str, store: Store, config: Config, *, daemon: bool) -> list[Cause]:
    """Return the obstacles of a run that a daemon has watched, the most important first.

    Args:
        name: The run's name.
        store: The daemon's state.
        config: Settings for a journal that does not hold its own.
        daemon: Whether the daemon runs.
    """
    journal = list(store.journal(name))
    saved = store.load_run(name)
    try:
        run = WatchedRun(name, [], _control(saved), _settings(journal, config), store, lambda _: None)
    except (KeyError, TypeError, ValueError) as error:  # of another version, or damaged
        what = f"what was saved of it cannot be read by this version of lrwatch ({error!r})"
        return [Cause(name, "state", what, "Use the version of the daemon, or start it with a fresh --state.")]
    problem = store.statuses().get(name, {}).get("why", "")
    logs = [Path(log) for log in store.logs(name)]
    try:
        return list(Examination(run, logs, run.control, journal, problem=problem, daemon=daemon).causes())
    finally:
        run.close()


def of_path(path: Path, config: Config) -> list[Cause]:
    """Return the obstacles of the runs at a path that no daemon watches.

    Args:
        path: A log, a directory, or a pattern.
        config: The settings.
    """
    found = discover([path])
    names = dict.fromkeys(log.run for log in found.logs)
    causes = [
        Cause(str(path), "no_log", problem, "Check the path, or where the training writes.")
        for problem in found.problems
    ]
    for name in names:
        logs = [log for log in found.logs if log.run == name]
        memory = Store(None)
        run = WatchedRun(name, [log.path for log in logs], None, config, memory, lambda _: None)
        try:
            while run.turn(0.0, final=True):
                pass
            control = Path(config.watch.control or logs[0].control)
            paths = [log.path for log in logs]
            examination = Examination(run, paths, control, list(memory.journal()), problem=run.problem, daemon=False)
            causes += examination.causes()
        finally:
            run.close()
            memory.close()
    return causes


def _control(saved: dict[str, object] | None) -> Path | None:
    control = None if saved is None else saved.get("control")
    return Path(str(control)) if control else None


def _settings(journal: Sequence[Entry], config: Config) -> Config:
    """Return the settings by which the daemon judged the run last."""
    event = next((entry.event for entry in reversed(journal) if entry.event["event"] == "settings"), None)
    if event is None:
        return config
    return replace(
        config,
        detect=DetectOptions(**event["detect"]),
        policy=PolicyOptions(**event["policy"]),
        run=RunOptions(**event["run_options"]),
        watch=WatchOptions(metric=event["watch_metric"]),
    )


def watched_run_of(path: Path, store: Store) -> str | None:
    """Return the name of the run of a daemon to which a path belongs: a log of it, or a directory above one.

    Args:
        path: A file or a directory.
        store: The daemon's state.
    """
    absolute = path.absolute()
    for name in store.runs():
        logs = [Path(log) for log in store.logs(name)]
        if any(absolute == log or absolute in log.parents for log in logs):
            return name
    return None


def require_path(text: str) -> Path:
    """Return a path that exists, or a pattern.

    Raises:
        InputError: It is neither that nor the name of a run.
    """
    path = Path(text)
    if not path.exists() and not any(mark in text for mark in "*?["):
        raise InputError(
            expected="the name of a run, a log or a directory", found="none of them", where=text,
            hint="`lrwatch status` lists the runs of a daemon.",
        )  # fmt: skip
    return path
