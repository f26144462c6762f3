"""The curve of the watched metric, for strategies that decide by all of it: in parts, the last of which ends at a check.

A check comes each time the run has about a hundredth more values, so the work for a value does not grow with the run. Between two checks
a long run gives parts of bounded size, so what waits does not grow with it either. Spikes are clipped on the way in (`stats.blocks.Winsor`).

Samples that come while a command is on its way are heard as usual. When the trainer says from which step it applied it, they
are heard again, from the state that `remember` kept: so what a check says does not depend on when the answer came. A batch
is cut before its parts are heard, so what is kept is cut again, up to the row of the command.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lrwatch.core.curve import FEW, Curve
from lrwatch.core.sample import Batch
from lrwatch.core.stats.blocks import BITE, Winsor

# Blocks of the curve: a trial of a twentieth of the run has a dozen or more.
BLOCKS = 512

# Checks while the number of values doubles, at the least.
CHECKS = 128

# Values of a part, at the most: whole bites, so that spikes are clipped the same wherever a part ends.
PART = 16 * BITE

# Values are clipped to this: their squares can be added up.
LARGEST = 1e100


class CurvePart(NamedTuple):
    """Values of the watched metric, one or more, and whether a check follows them."""

    steps: list[int]
    values: list[float]
    checked: bool


class _Newest(NamedTuple):
    """A batch that was cut, and the state before.

    Attributes:
        batch, primary_from: As they were given.
        metric: The watched metric.
        checked: Values up to the newest check.
        since: Values in parts since then.
        waited: How many of these lists waited.
        steps, values: The lists.
    """

    batch: Batch
    primary_from: Sequence[tuple[int, str]]
    metric: str | None
    checked: int
    since: int
    waited: int
    steps: list[int]
    values: list[float]


class WatchedCurve:
    """The curve, and the values that wait for the end of their part.

    Attributes:
        curve: The finite values of all parts that were taken.
    """

    def __init__(self) -> None:
        self.curve = Curve(BLOCKS)
        self._winsor = Winsor()
        self._levels_from: int | None = None
        self._metric: str | None = None
        # Values up to the newest check, those in parts since, and those that wait.
        self._count = 0
        self._since = 0
        self._steps: list[int] = []
        self._values: list[float] = []
        self._remembered: dict[str, Any] | None = None
        # The newest batch, with what waited before it.
        self._newest: _Newest | None = None

    @property
    def room(self) -> int:
        """Number of further values until the next check."""
        return max(1, self._count // CHECKS) - self._since - len(self._steps)

    @property
    def _free(self) -> int:
        """Number of further values until the end of the present part."""
        return min(self.room, PART - len(self._steps))

    def parts(self, batch: Batch, primary_from: Sequence[tuple[int, str]]) -> list[tuple[int, str, CurvePart]]:
        """Cut the values of the watched metric into parts.

        Args:
            batch: Samples.
            primary_from: Which metric is watched from which row on.

        Returns:
            The parts that are complete: their last row, metric and values.
        """
        if not primary_from:
            return []
        self._newest = _Newest(
            batch, primary_from, self._metric, self._count, self._since, len(self._steps), self._steps, self._values
        )
        found = []
        ends = [since for since, _ in primary_from[1:]] + [batch.rows]
        for (since, metric), end in zip(primary_from, ends, strict=True):
            column = batch.columns.get(metric)
            if column is None:
                continue
            if metric != self._metric:
                self._metric, self._count, self._since, self._steps, self._values = metric, 0, 0, [], []
            steps, rows, values = batch.steps_of(column), column.rows, column.values
            if since > 0 or end < batch.rows:
                low, high = np.searchsorted(rows, [max(since, 0), end])
                steps, rows, values = steps[low:high], rows[low:high], values[low:high]
            if len(rows) < self._free:
                self._steps += steps.tolist()
                self._values += values.tolist()
                continue
            steps, rows, values = steps.tolist(), rows.tolist(), values.tolist()
            at = 0
            while at < len(rows):
                room, free = self.room, self._free
                take = min(free, len(rows) - at)
                full, checked = take == free, take == room
                self._steps += steps[at : at + take]
                self._values += values[at : at + take]
                at += take
                if full:
                    found.append((rows[at - 1], metric, CurvePart(self._steps, self._values, checked)))
                    self._since += len(self._steps)
                    if checked:
                        self._count, self._since = self._count + self._since, 0
                    self._steps, self._values = [], []
        return found

    def take(self, part: CurvePart) -> None:
        """Add a part to the curve when its row has come."""
        if self._levels_from is not None and part.steps[-1] >= self._levels_from:
            self._winsor.forget_level()
            self._levels_from = None
        steps, values = part.steps, part.values
        if not (min(values) >= -LARGEST and max(values) <= LARGEST and math.isfinite(sum(values))):  # hardly ever
            finite = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
            steps, values = [step for step, _ in finite], [min(max(value, -LARGEST), LARGEST) for _, value in finite]
        if len(values) <= BITE:
            clipped = self._winsor.clip(values) if values else []
        else:
            bites = range(0, len(values), BITE)
            clipped = [value for at in bites for value in self._winsor.clip(values[at : at + BITE])]
        if len(steps) <= FEW:
            self.curve.add_few(steps, clipped)
        else:
            self.curve.add(np.array(steps, np.int64), np.array(clipped, np.float64))

    def level_may_change(self, step: int) -> None:
        """Learn that the rate changes at `step`: a jump of the level there is no spike, and is not to be clipped."""
        self._levels_from = step

    def restart(self) -> None:
        """Begin the curve of another metric."""
        self.curve, self._winsor = Curve(BLOCKS), Winsor()

    # ---- a command on its way -------------------------------------------------------------------------------------------

    def remember(self, row: int | None = None) -> None:
        """Keep the present state, to hear again what comes from now on.

        Args:
            row: The row of the newest batch that was heard last; None for the last one.
        """
        self._remembered = self._present()
        if row is not None and self._newest is not None:
            before, cut = self._newest, WatchedCurve()
            cut._metric, cut._count, cut._since = before.metric, before.checked, before.since
            cut._steps, cut._values = before.steps[: before.waited], before.values[: before.waited]
            heard = [(since, metric) for since, metric in before.primary_from if since <= row]
            cut.parts(before.batch.part(0, row + 1), heard)
            self._remembered |= cut._waiting()

    def go_back(self) -> None:
        """Return to the state that `remember` kept, if there is one."""
        if self._remembered is not None:
            self._take_over(self._remembered)
        self._remembered = None

    def forget(self) -> None:
        """Drop the state that `remember` kept."""
        self._remembered = None

    # ---- state ----------------------------------------------------------------------------------------------------------

    def _present(self) -> dict[str, Any]:
        return {
            "curve": self.curve.state(),
            "winsor": self._winsor.state(),
            "levels_from": self._levels_from,
            **self._waiting(),
        }

    def _waiting(self) -> dict[str, Any]:
        return {
            "metric": self._metric,
            "count": self._count,
            "since": self._since,
            "steps": list(self._steps),
            "values": [repr(value) for value in self._values],
        }

    def _take_over(self, state: Mapping[str, Any]) -> None:
        self.restart()
        self.curve.restore(state["curve"])
        self._winsor.restore(state["winsor"])
        self._levels_from = state["levels_from"]
        self._metric, self._count, self._since = state["metric"], state["count"], state["since"]
        self._steps = list(state["steps"])
        self._values = [float(value) for value in state["values"]]

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        return {**self._present(), "remembered": self._remembered}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        self._take_over(state)
        self._remembered = state["remembered"]
