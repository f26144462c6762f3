"""The other losses since a command: an effect on one loss is half of the truth.

The newest values of every loss are kept. When a command is applied, those before it stay as they are; when its effect is measured,
the mean of the values since is compared with the mean over as many steps before. The first quarter of the time since is left out, as
in the effect itself. It is a plain difference of two levels and no continued line: a validation loss has few values.

As the curve (`core.watched_curve`), it returns to the state at the question when the trainer says from which step it applied the
command, so that nothing depends on when the answer came.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lrwatch.core.events import LossChange
from lrwatch.core.names import role
from lrwatch.core.sample import Batch

# Newest values of a loss: enough for a mean, few enough to be saved with every event.
KEPT = 64

# Share of the time since a command that is not compared.
TRANSIENT = 0.25

# Fewer values than this on both sides together have no error to speak of.
MIN_VALUES = 4

_LossValues = list[tuple[int, float]]


class OtherLosses:
    """The levels of the losses of a run around its newest command.

    Attributes:
        since: The step from which the newest command was applied, or None before there is one.
        scale_before: The scale in use before it.
    """

    def __init__(self) -> None:
        self.since: int | None = None
        self.scale_before = 1.0
        self._recent: dict[str, _LossValues] = {}
        self._before: dict[str, _LossValues] = {}
        self._remembered: dict[str, _LossValues] | None = None
        self._batch: Batch | None = None
        self._names: tuple[str, ...] = ()
        self._heard = -1

    def begin(self, batch: Batch, names: Iterable[str]) -> None:
        """Take a batch, of which nothing is heard before `advance`; `names` are the losses that are judged."""
        self._batch, self._names, self._heard = batch, tuple(names), -1

    def advance(self, row: int) -> None:
        """Hear the values of the batch up to `row`."""
        batch = self._batch
        if batch is None or row <= self._heard:
            return
        for name in self._names:
            if (column := batch.columns.get(name)) is None:
                continue
            steps, values = batch.steps_of(column), column.values
            if self._heard >= 0 or row < batch.rows - 1:
                low, high = np.searchsorted(column.rows, [self._heard, row], side="right")
                steps, values = steps[low:high], values[low:high]
            self._add(name, steps.tolist(), values.tolist())
        self._heard = row

    def _add(self, name: str, steps: list[int], values: list[float]) -> None:
        """Add finite values; those of steps before the newest command may come after the word that it is applied."""
        new = [one for one in zip(steps, values, strict=True) if math.isfinite(one[1])]
        earlier: _LossValues = []
        if self.since is not None and new and min(steps) < self.since:
            earlier = [one for one in new if one[0] < self.since]
            new = [one for one in new if one[0] >= self.since]
        for kept, added in ((self._before, earlier), (self._recent, new)):
            if added:
                values_so_far = kept.setdefault(name, [])
                values_so_far += added
                del values_so_far[:-KEPT]

    def remember(self) -> None:
        """Keep the present state, to return to it when a command of this moment is applied."""
        self._remembered = {name: list(values) for name, values in self._recent.items()}

    def go_back(self) -> None:
        """Return to the state that `remember` kept, if there is one."""
        if self._remembered is not None:
            self._recent, self._remembered = self._remembered, None

    def forget(self) -> None:
        """Drop the state that `remember` kept."""
        self._remembered = None

    def applied(self, step: int, scale_before: float) -> None:
        """Learn that a command is applied from `step` on."""
        self.since, self.scale_before, self._remembered = step, scale_before, None
        known = {
            name: [*self._before.get(name, ()), *self._recent.get(name, ())]
            for name in dict.fromkeys([*self._before, *self._recent])
        }
        self._before, self._recent = {}, {}
        for name, values in known.items():
            self._add(name, [step for step, _ in values], [value for _, value in values])

    def restart(self) -> None:
        """Learn that the curve has changed by force: no level from before is comparable."""
        self.since, self._recent, self._before, self._remembered = None, {}, {}, None

    def changes(self, step: int, metric: str) -> tuple[LossChange, ...]:
        """Return what the losses but `metric` did from the newest command to `step`, validation losses first."""
        if self.since is None:
            return ()
        found = [change for name in self._before if name != metric and (change := self._change(name, step)) is not None]
        return tuple(sorted(found, key=lambda change: not change.validation))

    def _change(self, name: str, step: int) -> LossChange | None:
        assert self.since is not None
        span = step - self.since
        before = _newest(self._before[name], self.since - span)
        since = [one for one in self._recent.get(name, []) if one[0] >= self.since]
        after = _newest(since, self.since + TRANSIENT * span)
        if not before or not after:
            return None
        error = None
        if len(before) + len(after) >= MIN_VALUES:
            spread = (_squares(before) + _squares(after)) / (len(before) + len(after) - 2)
            error = math.sqrt(spread * (1 / len(before) + 1 / len(after)))
        return LossChange(name, float(np.mean(before)), float(np.mean(after)), error, role(name) == "val_loss")

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        return {
            "since": self.since,
            "scale_before": self.scale_before,
            "recent": {name: list(values) for name, values in self._recent.items()},
            "before": {name: list(values) for name, values in self._before.items()},
            "remembered": self._remembered,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        self.since, self.scale_before = state["since"], state["scale_before"]
        self._recent, self._before = _typed(state["recent"]), _typed(state["before"])
        self._remembered = None if state["remembered"] is None else _typed(state["remembered"])


def _newest(values: _LossValues, since: float) -> list[float]:
    """Return the values of step `since` and later, or the last one where there is none."""
    return [value for step, value in values if step >= since] or [value for _, value in values[-1:]]


def _squares(values: list[float]) -> float:
    return float(np.square(np.array(values) - np.mean(values)).sum())


def _typed(saved: Mapping[str, Any]) -> dict[str, _LossValues]:
    return {name: [(int(step), float(value)) for step, value in values] for name, values in saved.items()}
