"""The logged learning rate: constant, moved by the trainer's own schedule, or changed by a jump.

A jump after a rest begins a new phase (a step schedule, a person, a command of ours). A gradual move (warmup, cosine,
linear decay) does not: the curve stays one curve, but a plateau under a moving schedule is no reason to act. A gradual
move that is logged with few digits, or made once an epoch, looks like stairs; what tells them from a step schedule is that
the rests grow slowly from one stair to the next, and that no stair but the last few is steep. A rate on stairs moves, however
low the stairs are, until it has rested for LONGER stairs.

A warmup is a gradual move upwards from the first row on. It ends where the rate falls, or has rested; the curve before is
not comparable with the curve behind it. One that steps once an epoch begins with a long rest far below the rate that it
goes to: a first rise by FAR or more is a stair of a warmup, and no jump.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from operator import itemgetter

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

# Moves are noted at once when the rate has drifted by this much since it did, else once in so many rows.
DRIFT = 0.01
EVERY = 8

# Moves that are remembered, for looks at samples that were kept: more than a whole cosine makes between two looks.
MAX_MOVES = 256

# A first rise by at least this factor is a warmup's: they begin at a tenth of the rate or less, and persons double it.
FAR = 5.0

# Moves upwards from the first row on that make a warmup; a rate that is raised once or twice is not warming up.
WARMUP_MOVES = 4

# Relative difference below which two logged rates are the same.
SAME = 1e-6


@dataclass(frozen=True, slots=True)
class Move:
    """The schedule moved the rate at the row `index`, which has step `step`.

    Attributes:
        index: The row.
        step: Its step.
        until: The step up to which a next stair may come: the schedule moves the rate that long.
        rises: Whether all changes since the run began were upwards, this one as well.
    """

    index: int
    step: int
    until: int = -1
    rises: bool = False


@dataclass(frozen=True, slots=True)
class Jump:
    """The rate changed at the row `index` from one rest to another value, by `ratio`.

    A jump upwards from the first rest of a run may be a stair of a warmup; `move` is that stair then.
    """

    index: int
    ratio: float
    move: Move | None = None


@dataclass(frozen=True, slots=True)
class WarmupEnd:
    """By the row `index`, which has step `step`, the warmup is over: at `rate` the learning rate rests, or begins to fall."""

    index: int
    step: int
    rate: float


Change = Jump | Move | WarmupEnd


class LrChanges(Checkpointed):
    """Changes of the learning rate column of a log: `feed` finds them, `note` takes them in when their row has come."""

    SAVED = (
        "_column", "_rate", "_anchor", "_rows", "_rested", "_stair", "_moves", "_unnoted", "_warmup", "_first", "_last",
    )  # fmt: skip

    def __init__(self) -> None:
        self._column: str | None = None
        self._rate: float | None = None
        self._anchor = 0.0
        self._rows = self._rested = self._stair = 0
        # Rows since a move was made.
        self._unnoted = 0
        # Moves upwards since the first row, the longest rest among them, and whether the rate came from far below; or None
        # once it is known that they are over.
        self._warmup: list[int] | None = [0, 0, 0]
        # Row and step where the run began, and the newest step.
        self._first: list[int] | None = None
        self._last = 0
        # Step, last step of the stair, and whether it rises, of each move.
        self._moves: list[list[int]] = []

    @property
    def known(self) -> bool:
        """Whether the log has a rate."""
        return self._column is not None

    def find(self, batch: Batch) -> list[Change]:
        """Return the changes in the rows of `batch`, in log order. The first column that looks like a rate is the one."""
        if self._column is None:
            self._column = next((name for name, _ in batch.by_first_row() if role(name) == "lr"), None)
        column = batch.columns.get(self._column or "")
        if column is None or not len(column.rows):
            return []
        if not np.logical_and.reduce(finite := np.isfinite(column.values)):
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
        if self._rate is None:
            self._rate = self._anchor = float(rates[0])
            self._first, self._last = [0, int(steps[0])], int(steps[0])
        forward = steps[0] >= self._last and bool(np.logical_and.reduce(steps[1:] >= steps[:-1]))
        rests = forward and (bool(np.logical_and.reduce(rates == self._rate)) or self._rests_at(rates, self._rate))
        rested_from = -self._rested
        if not rests:  # it does nearly always
            for i, (step, new) in enumerate(zip(steps.tolist(), rates.tolist(), strict=True)):
                old = self._rate
                rewound, self._last = step < self._last, step
                if rewound:  # a resume, or another run: what it does is a beginning
                    self._first, self._warmup = [self._rows + i, step], [0, 0, 0]
                if abs(new - old) <= SAME * abs(old):
                    continue
                rest = i - rested_from
                self._warmup_rests(rested_from, i, steps, old, changes)
                if not rewound:
                    self._warmup_moves(i, step, rest, old, new, changes)
                self._change(i, step, rest, old, new, changes)
                self._rate, rested_from = new, i
        self._last = int(steps[-1])
        self._warmup_rests(rested_from, len(rates), steps, self._rate, changes)
        self._rested = len(rates) - rested_from
        self._rows += len(rates)
        return changes

    @staticmethod
    def _rests_at(rates: Floats, rate: float) -> bool:
        with np.errstate(over="ignore"):
            return bool((np.abs(rates - rate) <= SAME * abs(rate)).all())

    def _change(self, i: int, step: int, rest: int, old: float, new: float, changes: list[Change]) -> None:
        """Take the change from `old`, which rested for `rest` rows, to `new` at row `i`."""
        rested = rest >= max(REST_ROWS, REST_SHARE * (self._rows + i), LONGER * self._stair)
        rises = self._warmup is not None and self._warmup[0] > 0 and new > old
        self._stair = rest
        hold = LONGER * max(EVERY, rest)
        far = False
        if rises:
            assert self._warmup is not None
            far = bool(self._warmup[2])
            hold = max(REST_ROWS, LONGER * self._warmup[1])
        assert self._first is not None
        row = self._rows + i
        gap = (step - self._first[1]) / (row - self._first[0]) if row > self._first[0] else 1.0
        move = Move(i, step, step + int(hold * gap), rises)
        if rested and not far and abs(new - old) > JUMP * abs(old) and old > 0 and new > 0:
            changes.append(Jump(i, new / old, move if rises else None))
            self._anchor, self._unnoted = new, row
            if max(new / old, old / new) >= STEEP:
                self._stair = 0
        elif abs(new - self._anchor) > DRIFT * abs(self._anchor) or row - self._unnoted >= EVERY:
            changes.append(move)
            self._anchor, self._unnoted = new, row

    def _warmup_rests(self, rested_from: int, end: int, steps: Ints, rate: float, changes: list[Change]) -> None:
        """Note that the rate has been the same from row `rested_from` to before row `end`."""
        if self._warmup is None or not self._warmup[0]:
            return
        moves, longest, far = self._warmup
        over = rested_from + max(REST_ROWS, LONGER * longest)
        if over < end:
            if moves >= WARMUP_MOVES or far:
                changes.append(WarmupEnd(max(over, 0), int(steps[max(over, 0)]), rate))
            self._warmup = None

    def _warmup_moves(self, i: int, step: int, rest: int, old: float, new: float, changes: list[Change]) -> None:
        if self._warmup is None:
            return
        moves, longest, far = self._warmup
        if new > old:
            far = far or int(moves == 0 and rest >= REST_ROWS and 0 < old * FAR <= new)
            self._warmup = [moves + 1, max(longest, rest), far]
            return
        if moves >= WARMUP_MOVES or far:
            changes.append(WarmupEnd(i, step, old))
        self._warmup = None

    def note(self, change: Change) -> None:
        """From here on `moves` and `rises` know of `change`."""
        if isinstance(change, WarmupEnd):
            self._moves = []
            return
        if isinstance(change, Jump):
            self._moves = []
            if change.move is None:
                return
            change = change.move
        while self._moves and self._moves[-1][0] > change.step:  # the log went back
            self._moves.pop()
        self._moves = [*self._moves[1 - MAX_MOVES :], [change.step, change.until, int(change.rises)]]

    def was_ours(self) -> None:
        """Learn that the newest jump was a command's: it is no schedule's."""
        self._moves = []

    def moves(self, step: int, within: float) -> bool:
        """Whether the schedule moves the rate at `step`: it did within the last `within` steps, or a next stair may come."""
        newest = self._newest(step)
        return newest is not None and (step - newest[0] < within or step <= newest[1])

    def rises(self, step: int) -> bool:
        """Whether the schedule has raised the rate since the run began, and the rise is not known to be over by `step`."""
        newest = self._newest(step)
        return newest is not None and bool(newest[2]) and step <= newest[1]

    def _newest(self, step: int) -> list[int] | None:
        known = bisect_right(self._moves, step, key=itemgetter(0))
        return self._moves[known - 1] if known else None
