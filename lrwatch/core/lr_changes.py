"""The learning rate as the log tells it: does it rest, does the trainer's own schedule move it, did it jump?

A jump after a rest begins a new phase (a step schedule, a person, a command of ours). A gradual move (warmup, cosine,
linear decay) does not: the curve stays one curve, but a plateau under a moving schedule is no reason to act. A gradual
move that is logged with few digits looks like stairs; what tells them from a step schedule is that the rests grow slowly
from one stair to the next, and that no stair but the last few is steep.

A warmup is a gradual move upwards from the first row on. It ends where the rate falls, or has rested; the curve before is
not comparable with the curve behind it.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

import numpy as np

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import role
from lrwatch.core.sample import Batch, Column, Floats, Ints

# Rows at the same rate before a change can be a jump; a schedule that moves every few rows never rests that long.
REST_ROWS = 16

# ... and the rate must have rested for this share of the run so far.
REST_SHARE = 0.02

# ... and this much longer than on the last stair. Stairs of a rounded cosine, line or exponential grow by 2 at the most:
# the first stair of a line is half as long as the others.
LONGER = 3

# A change by at least this factor, up or down, is no stair, unless it comes on stairs; its rest is not held against the next.
STEEP = 1.6

# Smallest relative change that is a jump. Step schedules divide by 2 to 10; log rounding stays below a few per cent.
JUMP = 0.05

# A schedule moves when the rate drifted by this much.
DRIFT = 0.01

# Moves that are remembered, for looks at samples that were kept: more than a whole cosine makes between two looks.
MAX_MOVES = 256

# Moves upwards from the first row on that make a warmup; a rate that is raised once or twice is not warming up.
WARMUP_MOVES = 4

# Relative difference below which two logged rates are the same.
SAME = 1e-6


@dataclass(frozen=True, slots=True)
class Jump:
    """The rate changed at the row `index` from one rest to another value, by `ratio`."""

    index: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Move:
    """The schedule moved the rate at the row `index`, which has step `step`."""

    index: int
    step: int


@dataclass(frozen=True, slots=True)
class WarmupEnd:
    """By the row `index`, which has step `step`, the warmup is over: at `rate` the learning rate rests, or begins to fall."""

    index: int
    step: int
    rate: float


Change = Jump | Move | WarmupEnd


class LrChanges(Checkpointed):
    """Changes of the learning rate column of a log: `feed` finds them, `note` takes them in when their row has come."""

    SAVED = ("_column", "_rate", "_anchor", "_rows", "_rested", "_stair", "_moves", "_warmup")

    def __init__(self) -> None:
        self._column: str | None = None
        self._rate: float | None = None
        self._anchor = 0.0
        self._rows = self._rested = self._stair = 0
        # Moves upwards since the first row and the longest rest among them, or None once it is known that they are over.
        self._warmup: list[int] | None = [0, 0]
        self._moves: list[int] = []

    def find(self, batch: Batch) -> list[Change]:
        """Return the changes in the rows of `batch`, in log order. The first column that looks like a rate is the one."""
        if self._column is None:
            self._column = next((name for name, _ in batch.by_first_row() if role(name) == "lr"), None)
        column = batch.columns.get(self._column or "")
        if column is None or not len(column.rows):
            return []
        if not (finite := np.isfinite(column.values)).all():
            column = Column(column.rows[finite], column.values[finite])
        changes = self.feed(batch.steps_of(column), column.values)
        return [replace(change, index=int(column.rows[change.index])) for change in changes]

    def feed(self, steps: Ints, rates: Floats) -> list[Change]:
        """Take rows of finite rates.

        Args:
            steps: Their steps, shape (n,).
            rates: The rates, shape (n,).

        Returns:
            The changes among them, to be given to `note` when their row has come.
        """
        changes: list[Change] = []
        if not len(rates):
            return changes
        if self._rate is not None and (rates == self._rate).all():  # it rests, as it does nearly always
            self._warmup_rests(-self._rested, len(rates), steps, self._rate, changes)
            self._rested += len(rates)
            self._rows += len(rates)
            return changes
        before = np.concatenate([[self._rate if self._rate is not None else rates[0]], rates[:-1]])
        with np.errstate(over="ignore"):
            changed = np.flatnonzero(np.abs(rates - before) > SAME * np.abs(before)).tolist()
        if self._rate is None:
            self._anchor = float(rates[0])
        rested_from = -self._rested
        for i in changed:
            old, new = float(before[i]), float(rates[i])
            rest = i - rested_from
            self._warmup_rests(rested_from, i, steps, old, changes)
            self._warmup_moves(i, int(steps[i]), rest, old, new, changes)
            rested = rest >= max(REST_ROWS, REST_SHARE * (self._rows + i), LONGER * self._stair)
            self._stair = rest
            if rested and abs(new - old) > JUMP * abs(old) and old > 0 and new > 0:
                changes.append(Jump(i, new / old))
                self._anchor = new
                if max(new / old, old / new) >= STEEP:
                    self._stair = 0
            elif abs(new - self._anchor) > DRIFT * abs(self._anchor):
                changes.append(Move(i, int(steps[i])))
                self._anchor = new
            rested_from = i
        self._warmup_rests(rested_from, len(rates), steps, float(rates[-1]), changes)
        self._rested = len(rates) - rested_from
        self._rows += len(rates)
        self._rate = float(rates[-1])
        return changes

    def _warmup_rests(self, rested_from: int, end: int, steps: Ints, rate: float, changes: list[Change]) -> None:
        """Note that the rate has been the same from row `rested_from` to before row `end`."""
        if self._warmup is None or self._warmup[0] < WARMUP_MOVES:
            return
        over = rested_from + max(REST_ROWS, LONGER * self._warmup[1])
        if over < end:
            changes.append(WarmupEnd(max(over, 0), int(steps[max(over, 0)]), rate))
            self._warmup = None

    def _warmup_moves(self, i: int, step: int, rest: int, old: float, new: float, changes: list[Change]) -> None:
        if self._warmup is None:
            return
        if new > old:
            self._warmup = [self._warmup[0] + 1, max(self._warmup[1], rest)]
            return
        if self._warmup[0] >= WARMUP_MOVES:
            changes.append(WarmupEnd(i, step, old))
        self._warmup = None

    def note(self, change: Change) -> None:
        """From here on `moves` knows of `change`."""
        if isinstance(change, (Jump, WarmupEnd)):
            self._moves = []
            return
        while self._moves and self._moves[-1] > change.step:  # the log went back
            self._moves.pop()
        self._moves = [*self._moves[1 - MAX_MOVES :], change.step]

    def moves(self, step: int, within: float) -> bool:
        """Whether the schedule moved the rate within the last `within` steps before `step`."""
        known = bisect_right(self._moves, step)
        return known > 0 and step - self._moves[known - 1] < within
