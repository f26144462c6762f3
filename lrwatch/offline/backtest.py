"""Decisions on many finished logs under several settings: each log and setting is one task, and each task is a replay.

A task depends on nothing but its log and its settings, so any executor may run them, in any order and as often as it likes: a
process pool, or the workers of a cluster (`dask.distributed.Client.get_executor()`), of which some may be lost. The result is
the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from lrwatch.config import Config
from lrwatch.errors import InputError
from lrwatch.offline.replay import FinishedRun, replay_run
from lrwatch.store import Entry


@dataclass(frozen=True, slots=True)
class Outcome:
    """The daemon's findings and commands on one log under one setting.

    Attributes:
        log: The file, or the directory of a run with several. config: The name of the settings.
        metric: The watched metric. step: Its run's last step. samples: Samples of all metrics.
        reports: Number of findings of each kind.
        plateau: Step of the first plateau report, or None. command: Step of the first command, or None.
        commands: Commands that would have been given. scale: The last of their scales, 1 without any.
        problem: Why the log could not be used, or "".
    """

    log: str
    config: str
    metric: str = ""
    step: int | None = None
    samples: int = 0
    reports: Mapping[str, int] = field(default_factory=dict)
    plateau: int | None = None
    command: int | None = None
    commands: int = 0
    scale: float = 1.0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ComparedOutcome:
    """An outcome compared with those of the other settings on the same log.

    Attributes:
        outcome: The outcome.
        delay: Steps from the earliest first plateau report under any setting to the one of this outcome; None without a report.
    """

    outcome: Outcome
    delay: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All logs under one setting.

    Attributes:
        config: The name of the settings.
        logs: Logs that were understood. unread: Logs that were not.
        reports: Findings of each kind, over all logs.
        with_plateau: Logs on which a plateau was reported. with_command: Logs on which there was a command.
        first_plateau: Median, over those, of the share of the run at which it was first reported; None without any.
        delay: Median delay against the earliest setting, in steps; None without any.
        commands: Commands a run, on average.
    """

    config: str
    logs: int
    unread: int
    reports: Mapping[str, int]
    with_plateau: int
    with_command: int
    first_plateau: float | None
    delay: float | None
    commands: float


def replay_one(log: str | FinishedRun, name: str, config: Config) -> Outcome:
    """Replay one run under one setting: one task.

    Args:
        log: Path of its log, or the run with all its logs.
        name: The name of the settings.
        config: The settings.
    """
    reports: dict[str, int] = {}
    first: dict[str, int] = {}
    scales: list[float] = []

    def count(entry: Entry) -> None:
        event = entry.event
        if event["event"] == "finding":
            reports[event["kind"]] = reports.get(event["kind"], 0) + 1
            first.setdefault(event["kind"], event["step"])
        elif event["event"] == "command":
            scales.append(event["scale"])
            first.setdefault("command", event["step"])

    finished = log if isinstance(log, FinishedRun) else FinishedRun(Path(log).stem, (Path(log),))
    try:
        run = replay_run(finished, config, count)
    except InputError as error:
        return Outcome(finished.path, name, problem=error.found)
    status = run.status(0.0)
    return Outcome(
        finished.path, name, status.metric, status.step, status.samples, dict(sorted(reports.items())), first.get("plateau"),
        first.get("command"), len(scales), scales[-1] if scales else 1.0,
    )  # fmt: skip


def backtest(
    logs: Sequence[Path | FinishedRun],
    configs: Mapping[str, Config],
    executor: Executor | None = None,
    show: Callable[[int, int], object] = lambda _done, _all: None,
) -> list[ComparedOutcome]:
    """Replay every log under every setting.

    Args:
        logs: The files, or runs with all their logs; a worker must find them under the same paths.
        configs: The settings, by the name under which they are shown.
        executor: Runs the tasks; None runs them here, one after the other. It is not shut down.
        show: Called with the number of tasks done and the number of all tasks.

    Returns:
        A row for each log and setting, in the order of the logs, and of the settings within each log.

    Raises:
        concurrent.futures.BrokenExecutor: A worker died and the executor does not replace it.
    """
    tasks = [
        (log if isinstance(log, FinishedRun) else str(log), name, config)
        for log in logs
        for name, config in configs.items()
    ]
    outcomes: list[Outcome | None] = [None] * len(tasks)
    show(0, len(tasks))
    if executor is None:
        for i, task in enumerate(tasks):
            outcomes[i] = replay_one(*task)
            show(i + 1, len(tasks))
    else:
        futures = {executor.submit(replay_one, *task): i for i, task in enumerate(tasks)}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                outcomes[futures[future]] = future.result()
                show(done, len(tasks))
        finally:
            for future in futures:
                future.cancel()
    return list(_compared([outcome for outcome in outcomes if outcome is not None]))


def _compared(outcomes: Sequence[Outcome]) -> Iterator[ComparedOutcome]:
    earliest: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.plateau is not None:
            earliest[outcome.log] = min(outcome.plateau, earliest.get(outcome.log, outcome.plateau))
    for outcome in outcomes:
        yield ComparedOutcome(outcome, None if outcome.plateau is None else outcome.plateau - earliest[outcome.log])


def summaries(rows: Sequence[ComparedOutcome]) -> list[Summary]:
    """Return one summary a setting, in the order in which the settings were given."""
    return [
        _summary(name, [row for row in rows if row.outcome.config == name])
        for name in dict.fromkeys(row.outcome.config for row in rows)
    ]


def _summary(name: str, rows: Sequence[ComparedOutcome]) -> Summary:
    read = [row for row in rows if not row.outcome.problem]
    reports: dict[str, int] = {}
    for row in read:
        for kind, count in row.outcome.reports.items():
            reports[kind] = reports.get(kind, 0) + count
    shares = [row.outcome.plateau / max(row.outcome.step or 1, 1) for row in read if row.outcome.plateau is not None]
    delays = [row.delay for row in read if row.delay is not None]
    return Summary(
        config=name,
        logs=len(read),
        unread=len(rows) - len(read),
        reports=dict(sorted(reports.items())),
        with_plateau=len(shares),
        with_command=sum(row.outcome.commands > 0 for row in read),
        first_plateau=median(shares) if shares else None,
        delay=median(delays) if delays else None,
        commands=sum(row.outcome.commands for row in read) / len(read) if read else 0.0,
    )


def as_json(row: ComparedOutcome | Summary) -> dict[str, Any]:
    """Return a row or a summary as JSON-plain values."""
    if isinstance(row, Summary):
        return {"event": "summary", **asdict(row)}
    return {"event": "backtest", **asdict(row.outcome), "delay": row.delay}
