"""Data of a report: the curves in the logs, and the events of the journal or of a replay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrwatch._version import __version__
from lrwatch.config import Config
from lrwatch.core.names import primary, role
from lrwatch.core.sample import Axis
from lrwatch.offline.known_logs import batches, logs_in_order
from lrwatch.offline.replay import end_states, replay_run, runs_at
from lrwatch.report.model.data import MetricCurve, ReportData, Role
from lrwatch.store import Store

_ROLES: dict[str, Role] = {"train_loss": "train", "val_loss": "val", "lr": "lr"}


def of_file(file: Path, config: Config) -> ReportData:
    """Replay a finished log, or the first run of a directory, and return its data.

    Raises:
        InputError: As `replay_run` raises it.
    """
    events: list[dict[str, Any]] = []
    finished = runs_at(file)[0]
    run = replay_run(finished, config, lambda entry: events.append(entry.event))
    facts = [("Log", finished.path), ("Decisions", "a replay: nothing was commanded")]
    stands = [(event["metric"], event["message"]) for event in end_states(run)]
    return _data(finished.name, finished.logs, run.pipeline.metric or "", events, facts, config, stands)


def of_run(run: str, store: Store, config: Config) -> ReportData:
    """Return the data of a run in the store of a daemon, with its journal."""
    status = store.statuses().get(run, {})
    events = [entry.as_json() for entry in store.journal(run)]
    logs = logs_in_order(store, run)
    facts = [("Logs", ", ".join(map(str, logs))), ("Journal", str(store.path))]
    metric = config.metric or status.get("metric", "")
    watched = sorted((m for m in status.get("metrics", ()) if m["watched"]), key=lambda m: m["name"] != metric)
    return _data(run, logs, metric, events, facts, config, [(m["name"], m["words"]) for m in watched])


def curves(logs: Iterable[Path], config: Config) -> tuple[list[MetricCurve], Axis]:
    """Read every metric in `logs` as a daemon takes it from them, in its order, and what their steps count."""
    parts: dict[str, list[tuple[Any, Any]]] = {}
    axis: Axis = "step"
    for batch, anew in batches(logs, config):
        if anew:
            parts = {}
        if batch.rows:
            axis = batch.axis
        for name, column in batch.columns.items():
            parts.setdefault(name, []).append((batch.steps[column.rows], column.values))
    found = []
    for name, pieces in parts.items():
        steps, values = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        found.append(MetricCurve(name, _ROLES.get(role(name), "other"), steps, values))
    return found, axis


def _data(
    run: str,
    logs: Sequence[Path],
    metric: str,
    events: Sequence[dict[str, Any]],
    facts: list[tuple[str, str]],
    config: Config,
    standings: Sequence[tuple[str, str]],
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
    return ReportData(
        run, f"{run}: {metric}", metric, axis, tuple(found), tuple(events), tuple(facts), standings=tuple(standings)
    )
