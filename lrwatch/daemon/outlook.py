"""Forecasts of one run: made at 30, 50 and 70 % of its length, journalled, and scored when the end has come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.curve import Curve
from lrwatch.core.events import Event, Phase
from lrwatch.core.forecast import Forecast, ended_at, forecast
from lrwatch.core.sample import Batch, Floats, Ints
from lrwatch.daemon.commands import JournalEvent

MARKS = (0.3, 0.5, 0.7)
"""Shares of the run at which a forecast is made."""

# Phases that are remembered; only the newest before a mark counts.
_PHASES = 32

# Points of the small picture of a curve: a hundred pixels show no more.
CURVE_POINTS = 48


class Outlook(Checkpointed):
    """The curve of the watched metric, and the forecasts that rest on it.

    Args:
        run: The run's name.
        direction: "min" where the metric should fall, "max" where it should rise.

    Attributes:
        metric: The metric of the curve, or None before it is known.
        curve: Its values so far.
    """

    SAVED: ClassVar[tuple[str, ...]] = ("metric", "curve", "_phases", "_total", "_passed", "_open")

    def __init__(self, run: str, direction: str) -> None:
        self._run = run
        self._direction = direction
        self.metric: str | None = None
        self.curve = Curve()
        self._phases: list[int] = []
        self._total = 0
        self._passed: list[float] = []  # marks of this length that were made, or missed
        self._open: list[dict[str, Any]] = []  # forecasts without a score
        self._drawn: tuple[str | None, int, int] | None = (
            None  # the curve that the points show, and how many of its blocks
        )
        self._drawn_blocks = -1
        self._points: tuple[float, ...] = ()

    def heard(self, events: Iterable[Event]) -> None:
        """Take note of the phases among events: the values before one say nothing about where the run goes."""
        steps = [event.step for event in events if isinstance(event, Phase)]
        if steps:
            self._phases = [*self._phases, *steps][-_PHASES:]

    def points(self) -> tuple[float, ...]:
        """Return the curve so far in CURVE_POINTS means at the most, for a small picture. It changes when a point's share of steps is new."""
        curve = self.curve
        drawn, blocks = (self.metric, curve.first, curve.width), (curve.last - curve.first) // curve.width
        if drawn != self._drawn or not 0 <= blocks - self._drawn_blocks < max(1, self._drawn_blocks // CURVE_POINTS):
            self._drawn, self._drawn_blocks = drawn, blocks
            self._points = tuple(float(f"{mean:.5g}") for mean in curve.means(CURVE_POINTS))
        return self._points

    def at(self, total_steps: int) -> Forecast:
        """Return the forecast from all values so far."""
        since = max((step for step in self._phases if step <= self.curve.last), default=0)
        return forecast(self.curve, total_steps, direction=self._direction, since=since)

    def feed(self, batch: Batch, metric: str | None, total_steps: int) -> list[JournalEvent]:
        """Take the samples of `batch`. Return the forecasts whose mark was passed, and the scores if the end has come.

        Args:
            batch: The samples, after the pipeline has heard them.
            metric: The watched metric.
            total_steps: Length of the run; 0 where it is unknown.
        """
        if metric is None or (column := batch.columns.get(metric)) is None:
            return []
        if metric != self.metric:
            self.metric, self.curve, self._open = metric, Curve(), []
        if total_steps != self._total:  # forecasts of another length are not scored
            self._total, self._passed, self._open = total_steps, [], []
        steps, values = batch.steps_of(column), column.values
        events: list[JournalEvent] = []
        done = 0
        for until, mark in self._stops(steps):
            self.curve.add(steps[done:until], values[done:until])
            done = until
            events.extend(self._scores() if mark is None else self._made(mark))
        self.curve.add(steps[done:], values[done:])
        return events

    def _stops(self, steps: Ints) -> list[tuple[int, float | None]]:
        """Return before which rows to make the forecast of a mark, or (None) to score, in order."""
        if not self._total or (len(self._passed) == len(MARKS) and not self._open):
            return []
        stops: list[tuple[int, float | None]] = []
        last = self.curve.last
        for mark in MARKS:
            beyond = np.flatnonzero(steps > mark * self._total)
            if mark not in self._passed and len(beyond):
                stops.append((int(beyond[0]), mark))
        if self._open or stops:
            before = np.concatenate([[last if last >= 0 else steps[0]], steps[:-1]])
            ends = np.flatnonzero((steps >= self._total) | ((steps > before) & (2 * steps - before >= self._total)))
            if len(ends):
                stops.append((int(ends[0]) + 1, None))
        return sorted(stops, key=lambda stop: stop[0])

    def _made(self, mark: float) -> list[JournalEvent]:
        self._passed.append(mark)
        if self.curve.last < (mark - 0.1) * self._total or self.curve.last > mark * self._total:
            return []  # the length became known later, or the log has a hole there
        made = self.at(self._total)
        if made.reason:
            return []
        numbers = {"value": _short(made.value), "lower": _short(made.lower), "upper": _short(made.upper)}
        self._open.append({"made_at": made.step, **numbers})
        return [self._event("forecast", made.step, numbers, made.message)]

    def _scores(self) -> list[JournalEvent]:
        came = ended_at(self.curve, self._total)
        made, self._open = self._open, []
        if not np.isfinite(came):
            return []
        events = []
        for one in made:
            inside = one["lower"] <= came <= one["upper"]
            where = "inside" if inside else "outside"
            message = (
                f"the run ended at {came:.4g}, {where} the interval that was forecast at step {one['made_at']:,}: {one['value']:.4g} "
                f"({one['lower']:.4g} to {one['upper']:.4g})"
            )
            score = {**one, "came": _short(came), "error": _short(came - one["value"]), "inside": inside}
            events.append(self._event("forecast_scored", self.curve.last, score, message))
        return events

    def _event(self, kind: str, step: int, numbers: Mapping[str, Any], message: str) -> JournalEvent:
        common = {"event": kind, "run": self._run, "metric": self.metric, "step": step, "total_steps": self._total}
        return {**common, **numbers, "message": message}


def _short(value: float | Floats) -> float:
    """Round to six significant digits: sums of other parts of the log differ in the last ones."""
    return float(f"{float(value):.6g}")
