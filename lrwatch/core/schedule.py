"""The learning rate as the log tells it: does it rest, does the trainer's own schedule move it, did it jump?

A jump after a rest begins a new phase (a step schedule, a person, a command of ours). A gradual move (warmup, cosine,
linear decay) does not: the curve stays one curve, but a plateau under a moving schedule is no reason to act.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lrwatch.core.sample import Floats, Ints

# Rows at the same rate before a change can be a jump; a schedule that moves every few rows never rests that long.
REST_ROWS = 16

# ... and the rate must have rested for this share of the run so far: a cosine that is logged with few digits moves in
# small stairs at its end.
REST_SHARE = 0.02

# Smallest relative change that is a jump. Step schedules divide by 2 to 10; log rounding stays below a few per cent.
JUMP = 0.05

# A schedule moves when the rate drifted by this much.
DRIFT = 0.01

# Relative difference below which two logged rates are the same.
SAME = 1e-6


class Jump(NamedTuple):
    """The rate changed at the row `index` from one rest to another value, by `ratio`."""

    index: int
    ratio: float


class LrTrack:
    """Follows the learning rate column of a log."""

    def __init__(self) -> None:
        self._rate: float | None = None
        self._anchor = 0.0
        self._rows = self._rested = 0
        self.moved_at: int | None = None

    def feed(self, steps: Ints, rates: Floats) -> list[Jump]:
        """Take rows (shape (n,) each). -> the jumps among them."""
        jumps: list[Jump] = []
        before = np.concatenate([[self._rate if self._rate is not None else rates[0]], rates[:-1]])
        with np.errstate(invalid="ignore"):
            changed = np.flatnonzero(np.abs(rates - before) > SAME * np.abs(before)).tolist()
        if self._rate is None:
            self._anchor = float(rates[0])
        rested_from = -self._rested
        for i in changed:
            old, new = float(before[i]), float(rates[i])
            rested = i - rested_from >= max(REST_ROWS, REST_SHARE * (self._rows + i))
            if rested and abs(new - old) > JUMP * abs(old) and old > 0 and new > 0:
                jumps.append(Jump(i, new / old))
                self._anchor, self.moved_at = new, None
            elif abs(new - self._anchor) > DRIFT * abs(self._anchor):
                self._anchor, self.moved_at = new, int(steps[i])
            rested_from = i
        self._rested = len(rates) - rested_from
        self._rows += len(rates)
        self._rate = float(rates[-1])
        return jumps

    def moves(self, step: int, within: float) -> bool:
        """Whether the schedule moved the rate within the last `within` steps before `step`."""
        return self.moved_at is not None and step - self.moved_at < within

    def state(self) -> list[Any]:
        """JSON-plain state."""
        return [self._rate, self._anchor, self._rows, self._rested, self.moved_at]

    def restore(self, state: list[Any]) -> None:
        """The inverse of `state`."""
        self._rate, self._anchor, self._rows, self._rested, self.moved_at = state
