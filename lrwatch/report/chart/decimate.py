"""Min-max decimation: any number of values as a bounded number of rows that a chart can hold, with every extreme kept.

The stretch of the step axis is cut into equal buckets. A row keeps the smallest and the largest finite value of its
bucket at their own steps, so that a spike of one value among 10^7 stays as high as it is, and the median, which says
where the bulk lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lrwatch.core.sample import Floats, Ints

Bools = npt.NDArray[np.bool_]

# A step that goes back is a resume, and the line is broken there. A log in which it goes back more often than jobs are
# resumed is merely written out of order (several ranks in one file), and is sorted.
MAX_RESTARTS = 16


@dataclass(frozen=True, slots=True)
class DecimatedCurve:
    """Rows in log order, each made of neighbouring values; all arrays have shape (rows,).

    Attributes:
        first, last: Steps of the first and the last value of the row.
        low, high, median: Of the finite values; NaN where there are none. The median is one of the values (the lower
            one of two), so that no sum can overflow.
        low_step, high_step: Steps of the extremes; the first one of equals.
        low_first: True where the smallest value comes before the largest in the log.
        finite, nonfinite: Number of values of the row that are finite, and that are not.
        restart: True where the step went back before this row.
    """

    first: Ints
    last: Ints
    low: Floats
    high: Floats
    median: Floats
    low_step: Ints
    high_step: Ints
    low_first: Bools
    finite: Ints
    nonfinite: Ints
    restart: Bools

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.first)

    def extremes(self) -> tuple[Ints, Floats, Bools]:
        """Return the line through all extremes: steps, values, and whether the pen is lifted before a point.

        It is lifted where the step went back, and where a row has no finite value.
        """
        one = np.where(self.low_first, self.low_step, self.high_step)
        two = np.where(self.low_first, self.high_step, self.low_step)
        first = np.where(self.low_first, self.low, self.high)
        second = np.where(self.low_first, self.high, self.low)
        keep = np.column_stack([self.finite > 0, (self.finite > 0) & ((one != two) | (first != second))]).ravel()
        lift = np.column_stack([self.lifted(), np.zeros(len(self), np.bool_)]).ravel()
        return np.column_stack([one, two]).ravel()[keep], np.column_stack([first, second]).ravel()[keep], lift[keep]

    def medians(self) -> tuple[Ints, Floats, Bools]:
        """Return the line through the medians, each at the middle of its row, as `extremes` does."""
        keep = self.finite > 0
        middle = self.first + (self.last - self.first) // 2
        return middle[keep], self.median[keep], self.lifted()[keep]

    def lifted(self) -> Bools:
        """Return for each row whether a line is broken before it, shape (rows,)."""
        after_gap = np.zeros(len(self), np.bool_)
        after_gap[1:] = self.finite[:-1] == 0
        return self.restart | after_gap


def decimate(steps: Ints, values: Floats, start: float, stop: float, buckets: int) -> DecimatedCurve:
    """Decimate one curve to at most `2 * buckets` rows; one row a value where there are no more values than buckets.

    Args:
        steps: Shape (n,), in log order.
        values: Shape (n,).
        start: Step at which the first bucket begins.
        stop: Step at which the last bucket ends, > `start`.
        buckets: Number of buckets between `start` and `stop`.
    """
    steps, values = np.asarray(steps, np.int64), np.asarray(values, np.float64)
    back = np.flatnonzero(steps[1:] < steps[:-1]) + 1
    if len(back) > MAX_RESTARTS:
        steps, values, back = *_sorted(steps, values), np.empty(0, np.int64)
    bounds = _bounds(steps, back, start, stop, buckets)
    if len(bounds) - 1 > 2 * buckets:
        steps, values, back = *_sorted(steps, values), np.empty(0, np.int64)
        bounds = _bounds(steps, back, start, stop, buckets)

    rows = len(bounds) - 1
    low, high, median = (np.full(rows, np.nan) for _ in range(3))
    low_at, high_at, finite = (np.zeros(rows, np.int64) for _ in range(3))
    for row, (begin, end) in enumerate(pairwise(bounds.tolist())):
        part = values[begin:end]
        where = np.flatnonzero(np.isfinite(part))
        finite[row] = len(where)
        if not len(where):
            continue
        good = part if len(where) == len(part) else part[where]
        smallest, largest, middle = int(good.argmin()), int(good.argmax()), (len(good) - 1) // 2
        low[row], high[row] = good[smallest], good[largest]
        median[row] = np.partition(good, middle)[middle]
        low_at[row], high_at[row] = begin + where[smallest], begin + where[largest]
    first, last = bounds[:-1], bounds[1:] - 1
    return DecimatedCurve(
        first=steps[first],
        last=steps[last],
        low=low,
        high=high,
        median=median,
        low_step=np.where(finite > 0, steps[low_at] if rows else low_at, 0),
        high_step=np.where(finite > 0, steps[high_at] if rows else high_at, 0),
        low_first=low_at <= high_at,
        finite=finite,
        nonfinite=np.diff(bounds) - finite,
        restart=np.isin(first, back),
    )


def _sorted(steps: Ints, values: Floats) -> tuple[Ints, Floats]:
    order = np.argsort(steps, kind="stable")
    return steps[order], values[order]


def _bounds(steps: Ints, back: Ints, start: float, stop: float, buckets: int) -> Ints:
    """Return where rows begin in the arrays, and the end of the last one, shape (rows + 1,)."""
    count = len(steps)
    if count <= buckets:
        return np.arange(count + 1)
    share = (steps.astype(np.float64) - start) / (stop - start)
    bucket = np.clip(share * buckets, 0, buckets - 1).astype(np.int64)
    changes = np.flatnonzero(np.diff(bucket)) + 1
    return np.unique(np.concatenate([np.array([0, count], np.int64), changes, back]))
