"""The length of a run, as its log states it: `step 10/100`, `Epoch 2/5`, a column `total_steps`.

A wrong length is worse than none. So a statement counts only while nothing contradicts it: all of them name one number, no
step is beyond it, and the steps do not begin again after they reached it, as those within an epoch do. None of this
depends on the order in which the statements are read, and so not on how the log was cut. What was contradicted
once stays unknown in this log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Axis, Ints

NAMES = frozenset({
    "total_steps", "max_steps", "num_train_steps", "num_training_steps", "max_train_steps", "total_train_steps", "max_iters",
    "train_iters", "total_iters", "num_iterations", "total_iterations", "max_iterations",
})  # fmt: skip
"""Names of columns that state the length of the run, in steps; see `column_states_length`."""

# Two different statements are a contradiction, so no more are kept.
_KEPT = 2
_LARGEST = 2**53


@lru_cache(maxsize=1024)
def column_states_length(name: str) -> bool:
    """Return whether a column of this name holds the length of the run.

    >>> column_states_length("train/total_steps"), column_states_length("total_timesteps")
    (True, False)
    """
    return name.lower().rpartition("/")[2].rpartition(".")[2].replace(" ", "_") in NAMES


@dataclass
class Totals(Checkpointed):
    """The statements of one log about its length.

    Attributes:
        run: Numbers that are called the steps of the run.
        counters: Ends of counters that are called steps: of the run, or of an epoch.
        epoch: Ends of other counters: of an epoch, if the log has epochs.
        epochs: Numbers of epochs of the run.
        column: Numbers in columns that state the length; `column_steps` are the smallest and the largest step beside them.
        highest: The largest place of the log, and `last` its last one; -1 before there is any.
        gap: The largest distance between two places that follow each other.
        fell_from: The largest place from which the log went back, with the largest distance before it added.
    """

    SAVED: ClassVar[tuple[str, ...]] = (
        "run", "counters", "epoch", "epochs", "column", "column_steps", "highest", "last", "gap", "fell_from",
    )  # fmt: skip

    run: list[int] = field(default_factory=list)
    counters: list[int] = field(default_factory=list)
    epoch: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    column: list[int] = field(default_factory=list)
    column_steps: list[int] = field(default_factory=list)
    highest: int = -1
    last: int = -1
    gap: int = 0
    fell_from: int = -1

    def state_run(self, steps: Iterable[float]) -> None:
        """Take numbers that are called the steps of the run."""
        _keep(self.run, steps)

    def state_counter(self, ends: Iterable[float], *, named: bool) -> None:
        """Take the ends of counters; `named`: they are called steps."""
        _keep(self.counters if named else self.epoch, ends)

    def state_epochs(self, epochs: Iterable[float]) -> None:
        """Take numbers of epochs of the run."""
        _keep(self.epochs, epochs)

    def state_column(self, steps: Iterable[int], values: Iterable[float]) -> None:
        """Take the values of a column that states the length, and the step of each."""
        _keep(self.column, values)
        self.column_steps = [f([*self.column_steps, *steps]) for f in (min, max)]

    def place(self, places: Ints) -> None:
        """Take the places of the next records, in log order."""
        if not len(places):
            return
        first, last = int(places[0]), int(places[-1])
        before = first if self.last < 0 else self.last
        moves = places[1:] - places[:-1]
        if first >= before and np.minimum.reduce(moves, initial=0) >= 0:  # as nearly always
            self.highest, self.last = max(self.highest, last), last
            self.gap = max(self.gap, first - before, int(np.maximum.reduce(moves, initial=0)))
            return
        self.highest = max(self.highest, int(places.max()))
        moves = np.diff(places, prepend=before)
        if (moves < 0).any():
            gaps = np.maximum.accumulate(np.maximum(moves, self.gap))
            from_ = np.concatenate([[before], places[:-1]]) + gaps
            self.fell_from = max(self.fell_from, int(from_[moves < 0].max()))
        self.gap = max(self.gap, int(moves.max()))
        self.last = int(places[-1])

    def length(
        self,
        axis: Axis,
        *,
        in_epochs: bool = True,
        restarts: bool | None = None,
        base: int | None = None,
        learned: int = 0,
    ) -> int:
        """Return the length of the run in units of `axis`; 0 where the log does not state it, or contradicts itself.

        Args:
            axis: What the places of the log count.
            in_epochs: The log has named an epoch.
            restarts: Whether counters restart with each epoch; None while that is unknown.
            base: Number of the first epoch. From 0 on, `Epoch 3/10` may have 10 epochs or 11.
            learned: Steps of an epoch, where the log does not state them but has shown two epochs; else 0.
        """
        if len(self.run) > 1 or len(self.column) > 1 or len(self.epochs) > 1:
            return 0
        stated: set[int] = set()
        if axis == "step":
            stated.update(self.run)
            if len(self.column_steps) == 2 and self.column_steps[0] < self.column_steps[1]:  # else it may be a counter
                stated.update(self.column)
            if not in_epochs or restarts is False:
                stated.update(self.counters)
            per_epoch = {*self.epoch, *(self.counters if restarts else ())} or ({learned} if learned else set())
            if len(per_epoch) == 1 and self.epochs and base:
                stated.add(self.epochs[0] * per_epoch.pop())
        elif axis == "epoch" and self.epochs and base:
            stated.update(self.epochs)
        if len(stated) != 1:
            return 0
        length = stated.pop()
        return length if self.highest <= length and self.fell_from < length - 1 else 0


def _keep(kept: list[int], values: Iterable[float]) -> None:
    for value in values:
        if len(kept) >= _KEPT:
            return
        if value == value and float(value).is_integer() and 0 < value <= _LARGEST and int(value) not in kept:
            kept.append(int(value))
