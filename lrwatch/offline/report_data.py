"""What a report shows: the curves that lie in the logs, and the events that the journal or a replay tells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrwatch._version import __version__
from lrwatch.config import Config
from lrwatch.core.names import primary, role
from lrwatch.core.sample import Axis
from lrwatch.offline.replay import replay_file
from lrwatch.report.model.data import MetricCurve, ReportData, Role
from lrwatch.sources.reader import LogReader
from lrwatch.store import Store

_ROLES: dict[str, Role] = {"train_loss": "train", "val_loss": "val", "lr": "lr"}


def of_file(file: Path, config: Config) -> ReportData:
    """A finished log, replayed. Raises InputError as `replay_file` does."""
    events: list[dict[str, Any]] = []
    watched = replay_file(file, config, lambda entry: events.append(entry.event))
    facts = [("Log", str(file)), ("Decisions", "a replay: nothing was commanded")]
    return _data(file.stem, [file], watched.run.metric or "", events, facts, config)


def of_run(run: str, store: Store, config: Config) -> ReportData:
    """A run that the daemon knows, with its journal."""
    status = store.statuses().get(run, {})
    events = [entry.as_json() for entry in store.journal(run)]
    logs = [Path(path) for path in store.logs(run)]
    facts = [("Logs", ", ".join(map(str, logs))), ("Journal", str(store.path))]
    return _data(run, logs, config.watch.metric or status.get("metric", ""), events, facts, config)


def curves(logs: Iterable[Path], config: Config) -> tuple[list[MetricCurve], Axis]:
    """Every loss and learning rate in `logs`, in log order; a metric is taken from the first log that has it."""
    parts: dict[str, list[tuple[Any, Any]]] = {}
    owners: dict[str, Path] = {}
    axis: Axis = "step"
    for path in logs:
        reader = LogReader(path, config.watch.format)
        while (read := reader.read(final=True)) is not None:
            batch, _ = read
            axis = batch.axis if batch.rows else axis
            for name, column in batch.columns.items():
                if owners.setdefault(name, path) == path:
                    parts.setdefault(name, []).append((batch.steps[column.rows], column.values))
        reader.close()
    return [
        MetricCurve(
            name, _ROLES.get(role(name), "other"), *(np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        )
        for name, pieces in parts.items()
    ], axis


def _data(
    run: str,
    logs: Sequence[Path],
    metric: str,
    events: Sequence[dict[str, Any]],
    facts: list[tuple[str, str]],
    config: Config,
) -> ReportData:
    found, axis = curves(logs, config)
    metric = metric or primary(curve.name for curve in found) or ""
    found.sort(key=lambda curve: curve.name != metric)
    samples = sum(len(curve.values) for curve in found)
    asked = config.detect
    facts += [
        ("Samples", f"{samples:,} of {len(found)} metrics"),
        (
            "A plateau is",
            f"less than {asked.min_improvement:g} better over {asked.horizon} of the run, at {asked.false_alarms:g} false alarms",
        ),
        ("lrwatch", __version__),
    ]
    return ReportData(run, f"{run}: {metric}", metric, axis, tuple(found), tuple(events), tuple(facts))
