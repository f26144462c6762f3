"""A metric's values over the whole run, in blocks: what a forecast needs, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Floats, Ints

# Blocks that are kept; with more, two become one. A twentieth of a run has then at least six of them.
MAX_BLOCKS = 256

# Values that are added one by one; a call of numpy costs as much as some of them.
FEW = 24


class Curve(Checkpointed):
    """Sums of the finite values of one metric, by blocks of equally many steps.

    Args:
        most: Blocks that are kept.

    Attributes:
        width: Steps of a block; it doubles when there are too many.
        first: The step that blocks are counted from: that of the first value.
        last: The newest step; -1 before the first value.
        nonfinite: The newest step whose value was not finite; -1 before there is one.

    >>> curve = Curve()
    >>> curve.add(np.arange(1000), np.full(1000, 2.5))
    >>> curve.last, curve.width, curve.mean(900, 1000)
    (999, 4, 2.5)
    """

    SAVED: ClassVar[tuple[str, ...]] = ("width", "first", "last", "nonfinite")

    def __init__(self, most: int = MAX_BLOCKS) -> None:
        self._most = most
        self.width = 1
        self.first = 0
        self.last = -1
        self.nonfinite = -1
        # Room for blocks, of which the first ones are in use, up to the newest. Those behind it are 0.
        self._room: Floats = np.zeros((0, 4))
        self._used = 0
        self._filled: tuple[Floats, Floats] | None = (
            None  # blocks with values, and their mean steps; None where they changed
        )

    @property
    def _sums(self) -> Floats:
        """A row for each block: count of values, sums of steps, values and squared values."""
        return self._room[: self._used]

    def _keep(self, sums: Floats) -> None:
        """Let these be the blocks."""
        self._room, self._used, self._filled = sums, len(sums), None

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        filled = np.flatnonzero(self._sums[:, 0])
        return {**super().state(), "rows": filled.tolist(), "sums": self._sums[filled].tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        super().restore(state)
        rows = state["rows"]
        self._keep(np.zeros((rows[-1] + 1 if rows else 0, 4)))
        if rows:
            self._room[rows] = state["sums"]

    def add(self, steps: Ints, values: Floats) -> None:
        """Add values in log order. Where the steps go back, a resume, the later values replace those from there on.

        Args:
            steps: Step of each value, shape (n,), none negative.
            values: The values, shape (n,).
        """
        if len(steps) <= FEW:
            self.add_few(steps.tolist(), values.tolist())
            return
        falls = np.flatnonzero(steps[1:] < steps[:-1]) + 1
        for part in np.split(np.arange(len(steps)), falls) if len(falls) else [slice(None)]:
            self._add_rising(steps[part], values[part])

    def add_few(self, steps: list[int], values: list[float]) -> None:
        """Add a few values as `add` does: so few are added one by one, at a fraction of the cost."""
        at = 0
        while at < len(steps):
            end = at + 1
            while end < len(steps) and steps[end] >= steps[end - 1]:
                end += 1
            self._reach(steps[at], steps[end - 1])
            first, width = self.first, self.width
            self._filled = None
            room: memoryview[Any] = self._room.reshape(-1).data  # a number of it costs a fifth of one of the array
            block, count, at_steps, total, squares = -1, 0.0, 0.0, 0.0, 0.0  # of the block so far
            for step, value in zip(steps[at:end], values[at:end], strict=True):
                if not math.isfinite(value):
                    self.nonfinite = max(self.nonfinite, step)
                    continue
                if (step - first) // width != block:
                    if count:
                        _add_to(room, block, count, at_steps, total, squares)
                    block, count, at_steps, total, squares = (step - first) // width, 0.0, 0.0, 0.0, 0.0
                count += 1
                at_steps += step
                total += value
                squares += value * value
            if count:
                _add_to(room, block, count, at_steps, total, squares)
            at = end

    def _reach(self, first: int, last: int) -> None:
        """Make room for values of the steps from `first` to `last`."""
        if self.last < 0 or first < self.first:  # the first value, or those of another run
            self.first, self.width = first, 1
            self._keep(np.zeros((0, 4)))
        elif first < self.last:
            self._forget_from(first)
        self.last = last
        newest = last - self.first
        while newest // self.width >= self._most:
            self._halve()
        self._used = max(self._used, newest // self.width + 1)
        if (missing := self._used - len(self._room)) > 0:
            missing = max(missing, min(len(self._room), self._most - len(self._room)))  # room for more to come
            self._room = np.concatenate([self._room, np.zeros((missing, 4))])

    def _add_rising(self, steps: Ints, values: Floats) -> None:
        self._reach(int(steps[0]), int(steps[-1]))
        finite = np.isfinite(values)
        if not finite.all():
            self.nonfinite = max(self.nonfinite, int(steps[~finite][-1]))
            steps, values = steps[finite], values[finite]
        blocks = (steps - self.first) // self.width
        self._filled = None
        for i, weights in enumerate((None, steps, values, values * values)):
            self._sums[:, i] += np.bincount(blocks, weights, self._used)

    def _halve(self) -> None:
        sums = self._sums
        if len(sums) % 2:
            sums = np.concatenate([sums, np.zeros((1, 4))])
        self._keep(sums[::2] + sums[1::2])
        self.width *= 2

    def _forget_from(self, step: int) -> None:
        self._keep(self._sums[: (step - self.first) // self.width].copy())

    # ---- what it holds ----------------------------------------------------------------------------------------------

    def window(self, first: float, end: float) -> Floats:
        """Return the sums of the blocks whose mean step lies from `first` to before `end`, shape (n, 4)."""
        if self._filled is None:  # a look asks for several windows
            sums = self._sums[self._sums[:, 0] > 0]
            self._filled = sums, sums[:, 1] / sums[:, 0]
        sums, at = self._filled
        low, high = at.searchsorted((first, end))
        return sums[low:high]

    def count(self, first: float, end: float) -> int:
        """Return the number of finite values in a window."""
        return int(self.window(first, end)[:, 0].sum())

    def mean(self, first: float, end: float) -> float:
        """Return the mean of the values in a window; NaN where there are none."""
        count, _, total, _ = self.window(first, end).sum(axis=0)
        return float(total / count) if count else float("nan")

    def means(self, most: int) -> tuple[float, ...]:
        """Return the means of at most `most` parts of about equally many steps, oldest first; parts without values are left out.

        >>> curve = Curve()
        >>> curve.add(np.arange(8), np.arange(8.0))
        >>> curve.means(4)
        (0.5, 2.5, 4.5, 6.5)
        """
        blocks = np.flatnonzero(self._sums[:, 0])
        if not len(blocks):
            return ()
        parts = blocks * most // len(self._sums) if len(self._sums) > most else blocks
        count, total = (np.bincount(parts, self._sums[blocks, column]) for column in (0, 2))
        return tuple((total[count > 0] / count[count > 0]).tolist())

    def smallest_mean(self) -> float:
        """Return the smallest mean of a block; infinity without values."""
        sums = self._sums[self._sums[:, 0] > 0]
        return float((sums[:, 2] / sums[:, 0]).min(initial=np.inf))

    def deviation(self, first: float, end: float) -> float:
        """Return the standard deviation of the values in a window; NaN where there are none."""
        count, _, total, squares = self.window(first, end).sum(axis=0)
        return float(np.sqrt(max(squares / count - (total / count) ** 2, 0.0))) if count else float("nan")


def _add_to(room: memoryview[Any], block: int, count: float, steps: float, total: float, squares: float) -> None:
    at = 4 * block
    room[at] += count
    room[at + 1] += steps
    room[at + 2] += total
    room[at + 3] += squares
