"""The curves of one run as a picture needs them: all extremes and the means of some hundred blocks, in bounded memory.

Of a block with more than two values three points are left: the smallest and the largest value at their own steps, and the mean in the
middle. A chart that is drawn of these points has every spike as high as it was, however long the run is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lrwatch.core.names import role
from lrwatch.core.sample import Batch, Floats, Ints

# Blocks of a curve: two to four pixels of a wide page each. A thousand runs with three curves are some 60 MB.
BLOCKS = 512

# Curves beside that of the metric that decides: as many as a chart has lines.
MAX_CURVES = 10

# Steps of values that were not finite, the newest ones, that are remembered for each curve.
MAX_NONFINITE = 64

# Values that wait to be put into blocks: one at a time would cost as much as many.
WAITING = 512

_ROLES = frozenset({"train_loss", "val_loss", "lr"})

# A block: count of values, sums of steps and values, the smallest value and its step, the largest value and its step.
_COLUMNS = ("count", "step_sum", "sum", "low", "low_step", "high", "high_step")
_EMPTY = (0.0, 0.0, 0.0, np.inf, 0.0, -np.inf, 0.0)
_COUNT, _LOW, _HIGH = 0, 3, 5


class PictureCurve(NamedTuple):
    """Points of one curve, by rising step: shape (n,) both. `seen` is the number of values that they stand for."""

    name: str
    steps: Ints
    values: Floats
    seen: int


class Envelope:
    """Sums and extremes of the values of one metric, by blocks of equally many steps.

    Args:
        most: Blocks that are kept; with more, two become one.

    Attributes:
        seen: Number of values that came, of whatever kind.

    >>> envelope = Envelope(4)
    >>> envelope.add(np.arange(8), np.array([5.0, 4, 9, 4, 3, 2, 1, 2]))
    >>> envelope.points()
    (array([0, 1, 2, 3, 4, 5, 6, 7]), array([5., 4., 9., 4., 3., 2., 1., 2.]))
    """

    def __init__(self, most: int = BLOCKS) -> None:
        self._most = most
        self._width = 1
        self._first = 0
        self._last = -1
        self._blocks: Floats = np.zeros((0, len(_COLUMNS)))
        self._nonfinite: list[int] = []
        self.seen = 0

    def add(self, steps: Ints, values: Floats) -> None:
        """Add values in log order. Where the steps go back, a resume, the later values replace those from there on.

        Args:
            steps: Step of each value, shape (n,).
            values: The values, shape (n,).
        """
        self.seen += len(values)
        falls = np.flatnonzero(np.diff(steps) < 0) + 1
        with np.errstate(over="ignore"):  # of sums of values near the largest float
            for part in np.split(np.arange(len(steps)), falls):
                if len(part):
                    self._reach(int(steps[part[0]]), int(steps[part[-1]]))
                    self._put(steps[part], values[part])

    def points(self) -> tuple[Ints, Floats]:
        """Return the points of the picture: steps, rising, and values; NaN where a value was not finite. Shape (n,) both."""
        count, step_sum, total, low, low_step, high, high_step = self._blocks[self._blocks[:, _COUNT] > 0].T
        several, many = count > 1, (count > 2) & np.isfinite(total)
        lost = np.array(self._nonfinite, np.float64)
        steps = np.concatenate([low_step, high_step[several], step_sum[many] / count[many], lost]).astype(np.int64)
        values = np.concatenate([low, high[several], total[many] / count[many], np.full(len(lost), np.nan)])
        order = np.argsort(steps, kind="stable")
        return steps[order], values[order]

    def arrays(self) -> dict[str, Any]:
        """Return the state as arrays."""
        numbers = [self._width, self._first, self._last, self.seen]
        lost = np.array(self._nonfinite, np.int64)
        return {"numbers": np.array(numbers, np.int64), "blocks": self._blocks, "lost": lost}

    def take(self, arrays: Mapping[str, Any]) -> None:
        """Take over a state that `arrays` returned.

        Raises:
            ValueError: It is none.
        """
        self._width, self._first, self._last, self.seen = map(int, arrays["numbers"])
        self._blocks = np.array(arrays["blocks"], np.float64).reshape(-1, len(_COLUMNS))
        self._nonfinite = [int(step) for step in arrays["lost"]]

    def _reach(self, first: int, last: int) -> None:
        """Make room for values of the steps from `first` to `last`."""
        if self._last < self._first or first < self._first:  # the first value, or those of another run
            self._first, self._width, self._blocks, self._nonfinite = first, 1, self._blocks[:0], []
        elif first < self._last:
            kept = (first - self._first) // self._width
            self._blocks = self._blocks[:kept]
            self._nonfinite = [step for step in self._nonfinite if step < self._first + kept * self._width]
        self._last = last
        while (last - self._first) // self._width >= self._most:
            self._halve()
        self._lengthen((last - self._first) // self._width + 1 - len(self._blocks))

    def _put(self, steps: Ints, values: Floats) -> None:
        """Add values whose steps rise, in blocks that are there."""
        finite = np.isfinite(values)
        if not finite.all():
            self._nonfinite = [*self._nonfinite, *steps[~finite].tolist()][-MAX_NONFINITE:]
            steps, values = steps[finite], values[finite]
        if not len(values):
            return
        blocks = (steps - self._first) // self._width
        begins = np.flatnonzero(np.diff(blocks, prepend=-1))  # the steps rise, so each block is in one piece
        rows = blocks[begins]
        sizes = np.diff(begins, append=len(blocks))
        for column, amounts in enumerate((sizes, np.add.reduceat(steps, begins), np.add.reduceat(values, begins))):
            self._blocks[rows, column] += amounts
        group = np.repeat(np.arange(len(begins)), sizes)
        for column, of_block, better in ((_LOW, np.minimum, np.less), (_HIGH, np.maximum, np.greater)):
            extreme = of_block.reduceat(values, begins)
            at = np.flatnonzero(values == extreme[group])
            at = at[np.diff(group[at], prepend=-1) > 0]  # the first one of equals
            new = better(extreme, self._blocks[rows, column])
            self._blocks[rows[new], column] = extreme[new]
            self._blocks[rows[new], column + 1] = steps[at[new]]

    def _lengthen(self, blocks: int) -> None:
        if blocks > 0:
            self._blocks = np.concatenate([self._blocks, np.tile(_EMPTY, (blocks, 1))])

    def _halve(self) -> None:
        self._lengthen(len(self._blocks) % 2)
        left, right = self._blocks[::2].copy(), self._blocks[1::2]
        left[:, :_LOW] += right[:, :_LOW]
        lower, higher = right[:, _LOW] < left[:, _LOW], right[:, _HIGH] > left[:, _HIGH]
        left[lower, _LOW:_HIGH], left[higher, _HIGH:] = right[lower, _LOW:_HIGH], right[higher, _HIGH:]
        self._blocks = left
        self._width *= 2


class Picture:
    """The curves of one run: losses, learning rates, and the metric that decides whatever its name is."""

    def __init__(self) -> None:
        self._curves: dict[str, Envelope] = {}
        self._waiting: dict[str, list[tuple[Ints, Floats]]] = {}
        self._count = 0

    def add(self, batch: Batch, decides: str | None) -> None:
        """Take samples.

        Args:
            batch: The samples.
            decides: The metric that decides, or None before it is known.
        """
        for name, column in batch.columns.items():
            is_new = name not in self._curves and name != decides
            if is_new and (len(self._curves) >= MAX_CURVES or role(name) not in _ROLES):
                continue
            if name not in self._curves:
                self._curves[name] = Envelope()
            self._waiting.setdefault(name, []).append((batch.steps_of(column), column.values))
            self._count += len(column.values)
        if self._count >= WAITING:
            self._sort_in()

    def curves(self) -> list[PictureCurve]:
        """Return the curves in the order in which they first came."""
        self._sort_in()
        return [PictureCurve(name, *one.points(), one.seen) for name, one in self._curves.items()]

    def arrays(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the state: name and arrays of each curve."""
        self._sort_in()
        return [(name, one.arrays()) for name, one in self._curves.items()]

    def take(self, arrays: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Take over a state that `arrays` returned."""
        for name, of_one in arrays:
            self._curves[name] = Envelope()
            self._curves[name].take(of_one)

    def _sort_in(self) -> None:
        for name, parts in self._waiting.items():
            steps, values = (np.concatenate(column) for column in zip(*parts, strict=True))
            self._curves[name].add(steps, values)
        self._waiting, self._count = {}, 0
