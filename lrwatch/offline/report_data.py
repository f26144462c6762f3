"""Data of a report: the curves in the logs, and the events of the journal or of a replay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lrwatch._version import __version__
from lrwatch.config import Config
from lrwatch.core.life import OVER
from lrwatch.core.names import primary, role
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.overview import overview
from lrwatch.core.sample import Axis
from lrwatch.core.snapshot import RunStatus
from lrwatch.offline.known_logs import batches, logs_in_order
from lrwatch.offline.replay import end_states, replay_run, runs_at
from lrwatch.offline.saved_status import status_of
from lrwatch.report.model.data import CurveRole, MetricCurve, ReportData, RunState
from lrwatch.report.model.settings import settings_in_words
from lrwatch.store import Store

_ROLES: dict[str, CurveRole] = {"train_loss": "train", "val_loss": "val", "lr": "lr"}


def of_file(file: Path, config: Config) -> ReportData:
    """Replay a finished log, or the first run of a directory, and return its data.

    Raises:
        InputError: As `replay_run` raises it.
    """
    events: list[dict[str, Any]] = []
    finished = runs_at(file)[0]
    run = replay_run(finished, config, lambda entry: events.append(_of_a_replay(entry.event)))
    facts = [("Log", finished.path), ("Decisions", "a replay of the log: nothing was sent to the training")]
    facts += settings_in_words(run.pipeline.detect, run.pipeline.options)
    stands = [(event["metric"], event["message"]) for event in end_states(run)]
    # The log is read to its end, and nobody knows whether the training continues.
    status = replace(run.status(0.0), life="running", catching_up=False)
    data = _data(finished.name, finished.logs, events, facts, config, status=status, standings=stands)
    return replace(data, is_over=True)


def of_run(run: str, store: Store, config: Config) -> ReportData:
    """Return the data of a run in the store of a daemon, with its journal."""
    saved = store.statuses().get(run)
    status = RunStatus(run, config.policy.mode) if saved is None else status_of(saved)
    events = [entry.as_json() for entry in store.journal(run)]
    logs = logs_in_order(store, run)
    facts = [("Logs", ", ".join(map(str, logs)) or "none"), ("Journal", str(store.path)), *_settings(events, config)]
    metric = config.metric or status.metric
    watched = sorted((one for one in status.metrics if one.watched), key=lambda one: one.name != metric)
    # Of a run that is over nothing can be told by a later step.
    stands = [] if status.life in OVER else [(one.name, one.words) for one in watched]
    return _data(run, logs, events, facts, config, status=status, standings=stands)


def _of_a_replay(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of a replay: what would have been commanded was sent to nobody."""
    return {**event, "state": "replayed"} if event.get("event") == "command" else event


def _settings(events: Sequence[dict[str, Any]], config: Config) -> tuple[tuple[str, str], ...]:
    """Return the settings that decided last: of the journal, or those of now where it is of another version."""
    newest = next((event for event in reversed(events) if event.get("event") == "settings"), None)
    if newest is None:
        return settings_in_words(config.detect, config.policy)
    try:
        return settings_in_words(DetectOptions(**newest["detect"]), PolicyOptions(**newest["policy"]))
    except (KeyError, TypeError, ValueError):
        return settings_in_words(config.detect, config.policy)


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
    events: Sequence[dict[str, Any]],
    facts: list[tuple[str, str]],
    config: Config,
    *,
    status: RunStatus,
    standings: Sequence[tuple[str, str]],
) -> ReportData:
    found, axis = curves(logs, config)
    metric = config.metric or status.metric or primary(curve.name for curve in found) or ""
    found.sort(key=lambda curve: curve.name != metric)
    samples = sum(len(curve.values) for curve in found)
    facts += [
        ("Samples", f"{samples:,} of {len(found)} {'metric' if len(found) == 1 else 'metrics'}"),
        ("lrwatch", __version__),
    ]
    # At the moment of the newest sample, so that the page is the same whenever it is made.
    seen = overview(status, status.last_sample_time or 0.0)
    sentence = f"{seen.state}: {seen.words}" if status.life in OVER else seen.sentence
    title = f"{run}: {metric}" if metric else run
    return ReportData(
        run, title, metric, axis, tuple(found), tuple(events), tuple(facts), standings=tuple(standings[1:]),
        state=RunState(seen.state, seen.state_tone, seen.words, seen.waits, sentence), is_over=status.life in OVER,
    )  # fmt: skip
