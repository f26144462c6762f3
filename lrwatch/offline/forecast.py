"""The forecast of a run or of a finished log: where it ends as it goes, and if the decay began now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrwatch.config import Config
from lrwatch.core.curve import Curve
from lrwatch.core.forecast import Forecast, forecast, if_decayed
from lrwatch.core.names import primary
from lrwatch.core.run_length import LengthSource, RunLength
from lrwatch.offline.known_logs import logs_in_order
from lrwatch.offline.replay import replay_run, runs_at
from lrwatch.offline.report_data import curves
from lrwatch.report.model.data import MetricCurve
from lrwatch.store import Store

# A logged rate that fell by more than this, since the half of the steps so far, is lowered by its schedule.
_LOWERED = 0.02


@dataclass(frozen=True, slots=True)
class RunForecast:
    """The forecasts of one run.

    Attributes:
        run, metric: Names of the run and of the watched metric.
        length_source: Who says the length; "" where it was given with the command.
        level: Mean of the metric over the last twentieth of the steps so far.
        as_it_goes, if_decay_began_now: The forecasts, or the reasons why there are none.
        note: What the log says of the schedule of the rate, as a sentence, or "".
    """

    run: str
    metric: str
    length_source: LengthSource
    level: float
    as_it_goes: Forecast
    if_decay_began_now: Forecast
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-plain values."""
        plain = {**asdict(self), "step": self.as_it_goes.step, "total_steps": self.as_it_goes.total_steps}
        for key in ("as_it_goes", "if_decay_began_now"):
            made: Forecast = getattr(self, key)
            plain[key] = (
                {"reason": made.reason}
                if made.reason
                else dict(zip(("value", "lower", "upper"), made[2:5], strict=True))
            )
        return plain


def of_file(file: Path, config: Config, total: int = 0, at: int | None = None) -> RunForecast:
    """Forecast the end of a log, or of the first run of a directory.

    Args:
        file: The log or the directory.
        config: The settings.
        total: Length of the run; 0 for the one that settings or log state.
        at: Step at which to forecast, from what came before; None for the newest.

    Raises:
        InputError: As `replay_run` raises it.
    """
    events: list[dict[str, Any]] = []
    finished = runs_at(file)[0]
    run = replay_run(finished, config, lambda entry: events.append(entry.event))
    stated = run.pipeline.length
    known = RunLength(total) if total else RunLength(stated.counted_in(run.logs.axis), stated.source)
    return _forecast(finished.name, finished.logs, run.pipeline.metric or "", events, known, at, config)


def of_run(run: str, store: Store, config: Config, total: int = 0, at: int | None = None) -> RunForecast:
    """Forecast the end of a run in the store of a daemon, with the phases and effects of its journal.

    Args:
        run: The run's name.
        store: The daemon's state.
        config: The settings.
        total: Length of the run; 0 for the one that the daemon knows.
        at: Step at which to forecast, from what came before; None for the newest.
    """
    status = store.statuses().get(run, {})
    events = [entry.event for entry in store.journal(run)]
    known = RunLength(total) if total else RunLength(status.get("total_steps", 0), status.get("length_source", ""))
    logs = logs_in_order(store, run)
    return _forecast(run, logs, config.metric or status.get("metric", ""), events, known, at, config)


def _forecast(
    run: str,
    logs: Sequence[Path],
    metric: str,
    events: Sequence[Mapping[str, Any]],
    length: RunLength,
    at: int | None,
    config: Config,
) -> RunForecast:
    found, _ = curves(logs, config)
    metric = metric or primary(curve.name for curve in found) or ""
    curve = Curve()
    for one in found:
        if one.name == metric:
            end = len(one.steps) if at is None else int(np.searchsorted(one.steps, at, "right"))
            curve.add(one.steps[:end], one.values[:end])
    step, (total, source) = curve.last, length
    direction = config.detect.direction
    since = max((event["step"] for event in events if event["event"] == "phase" and event["step"] <= step), default=0)
    made = forecast(curve, total, direction=direction, since=since)
    level = curve.mean(0.95 * step, step + 1)
    cut = None if made.reason else _newest_cut(events, step)
    if made.reason:
        decayed = made
    elif cut is None:
        decayed = made.without("no cut of the rate was measured and taken back, so what a decay brings is not known")
    else:
        decayed = if_decayed(made, level, cut["gain"], cut["lower"], cut["upper"], direction=direction)
    return RunForecast(run, metric, source, level, made, decayed, _schedule(found, step))


def _newest_cut(events: Iterable[Mapping[str, Any]], step: int) -> Mapping[str, Any] | None:
    """Return the newest measured effect of a scale below the one in use at `step`: the run can still gain that."""
    scale, effects = 1.0, []
    for event in events:
        if (event.get("step") or 0) > step:
            continue
        if event["event"] in ("acknowledged", "hello"):
            scale = event["scale"]
        elif event["event"] == "effect":
            effects.append(event)
    return next((effect for effect in reversed(effects) if effect["scale"] < scale), None)


def _schedule(found: Iterable[MetricCurve], step: int) -> str:
    """Return what the logged rate says of the schedule, as a sentence, or ""."""
    found = list(found)
    scale = next((curve for curve in found if curve.name == "scale"), None)
    for curve in found:
        if curve.role == "lr":
            values = curve.values
            if scale is not None and np.array_equal(scale.steps, curve.steps):
                values = (
                    values / scale.values
                )  # the client's: the rate that was used, of which the scale is lrwatch's part
            rates = values[curve.steps <= step]
            half = values[curve.steps <= 0.5 * step]
            if len(half) and len(rates) and rates[-1] < (1 - _LOWERED) * half[-1]:
                return (
                    f"The schedule lowers the rate ({curve.name} fell from {half[-1]:.3g} to {rates[-1]:.3g} since half of the steps): "
                    "how far the metric falls with it is not known."
                )
    return ""
