"""A curve as means over blocks of equal length, in bounded memory: when there are too many, neighbours merge.

Values are winsorised on the way in, causally: a value further than three robust standard deviations from the median of
the 64 before it is pulled back to that distance, so that a spike cannot bend a slope, while a true change of level
passes after a few dozen values.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Floats

# Values that the robust centre and scale are taken from.
RING = 64

# No clipping before this many values: a median of fewer says little. Where the scatter is known from before, the centre of FEWEST will do.
MIN_RING, FEWEST = 16, 5

# Fewer values than this are handled one by one: it costs less than to call numpy, or to sort 64 values again.
FEW = 8

# Values that are clipped by the same centre and scale. On a line without noise the newest of so many lies 2.7 of what
# passes for robust standard deviations from the centre of the ring, so that nothing is clipped there.
BITE = 32

# Distance in robust standard deviations to which a value is pulled back. Under Gaussian noise that touches 0.3 % of the
# values and costs nothing; under noise with heavy tails or a skew (small batches) it takes a fifth to a quarter off the
# standard deviation of block means, as any bounded influence does (Huber 1964, Ann. Math. Statist. 35).
CLIP = 3.0

# The median absolute deviation of Gaussian noise is its standard deviation over this.
MAD_TO_SD = 1.4826

# Distance to which a value is pulled back, in median absolute deviations.
_REACH = CLIP * MAD_TO_SD

# Largest number of blocks. Merging halves them, so there are never fewer than half; five horizons of 128 blocks fit.
CAPACITY = 1280


class Winsor(Checkpointed):
    """Clips spikes, judged by the values before them."""

    SAVED = ("_ring", "_spread")

    def __init__(self) -> None:
        self._ring: list[float] = []
        self._ordered: list[float] = []
        # How far values may lie from the centre, as it was before the level may have changed; 0 where nobody knows.
        self._spread = 0.0

    def forget_level(self) -> None:
        """Learn that the level may change now. The scatter is what it was, so a spike is one among the first values too."""
        if len(self._ring) >= MIN_RING:
            self._spread = self._reach(_median(self._ordered))
        self._ring, self._ordered = [], []

    def clip(self, values: list[float]) -> list[float]:
        """`values` (at most BITE of them, finite), with spikes pulled back."""
        if len(self._ring) < MIN_RING:
            self._add(values)
            if len(self._ring) < FEWEST or not 0 < self._spread < math.inf:
                return values
            centre = _median(self._ordered)
            return [min(max(value, centre - self._spread), centre + self._spread) for value in values]
        ordered = self._ordered
        half = len(ordered) // 2
        centre = ordered[half] if len(ordered) % 2 else ordered[half - 1] / 2 + ordered[half] / 2
        # At least half of the ring is not nearer to the centre than the nearer one of its quartiles is. So what lies within
        # the distance that this allows is no spike, and the deviations need not be sorted, which costs most.
        quartile = (len(ordered) - half) // 2
        below, above = centre - ordered[quartile], ordered[-1 - quartile] - centre
        least = _REACH * min(below, above)
        if centre - least <= min(values) and max(values) <= centre + least:
            self._add(values)
            return values
        spread = self._reach(centre)
        self._add(values)
        if spread == 0.0 or not math.isfinite(spread):
            return values  # a quantised or constant metric: nothing to judge by
        low, high = centre - spread, centre + spread
        return [min(max(value, low), high) for value in values]

    def _reach(self, centre: float) -> float:
        """Return the distance from `centre` to which a value of the ring would be pulled back."""
        return _REACH * _median(sorted([abs(value - centre) for value in self._ordered]))

    def _add(self, values: list[float]) -> None:
        ring, ordered = self._ring, self._ordered
        ring += values
        many = len(ring) - RING
        if len(values) >= FEW:
            if many > 0:
                del ring[:many]
            self._ordered = sorted(ring)
            return
        for value in values:
            insort(ordered, value)
        if many > 0:
            for value in ring[:many]:
                del ordered[bisect_left(ordered, value)]
            del ring[:many]

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Checkpointed.restore`."""
        super().restore(state)
        self._ordered = sorted(self._ring)


def _median(ordered: list[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else ordered[half - 1] / 2 + ordered[half] / 2


class Blocks(Checkpointed):
    """Block means of a curve, oldest first.

    Attributes:
        width: Values a block.
    """

    SAVED = ("width", "_sum", "_filled")

    def __init__(self) -> None:
        self.width = 1
        self._means = np.empty(CAPACITY, np.float64)
        self._count = 0
        self._sum = 0.0
        self._filled = 0

    def __len__(self) -> int:
        return self._count

    def last(self, n: int) -> Floats:
        """Return the newest `n` block means (a view, shape (n,))."""
        return self._means[self._count - n : self._count]

    def before(self, end: int, n: int) -> Floats:
        """Return the `n` block means before the one with index `end` (a view, shape (n,))."""
        return self._means[end - n : end]

    def extend(self, values: Sequence[float] | Floats) -> None:
        """Append finite values."""
        if self.width == 1 and self._count + len(values) < CAPACITY:  # every value is a block
            self._means[self._count : self._count + len(values)] = values
            self._count += len(values)
            return
        at = 0
        while at < len(values):
            take = min(self.width - self._filled, len(values) - at)
            if take == self.width == 1:  # short runs: every value is a block
                self._append(float(values[at]))
            else:
                # Divide first: a sum of huge values overflows, their mean does not.
                if take < FEW:
                    part = 0.0
                    for value in values[at : at + take]:
                        part += value / self.width
                else:
                    part = float(np.sum(np.asarray(values[at : at + take]) / self.width))
                self._sum += part
                self._filled += take
                if self._filled == self.width:
                    mean, self._sum, self._filled = self._sum, 0.0, 0
                    self._append(mean)
            at += take

    def _append(self, mean: float) -> None:
        self._means[self._count] = mean
        self._count += 1
        if self._count == CAPACITY:
            self.merge()

    def merge(self) -> None:
        """Join neighbours: half as many blocks of twice the width. An odd newest block becomes the partial one."""
        pairs = self._count // 2
        if self._count % 2:
            self._sum = float(self._means[self._count - 1]) / 2 + self._sum / 2
            self._filled += self.width
        else:
            self._sum /= 2
        halves = self._means[: 2 * pairs] / 2
        self._means[:pairs] = halves[0::2] + halves[1::2]
        self._count = pairs
        self.width *= 2

    def forget(self, keep: int) -> None:
        """Drop all but the newest `keep` blocks."""
        drop = self._count - keep
        if drop > 0:
            self._means[:keep] = self._means[drop : self._count]
            self._count = keep

    def state(self) -> dict[str, Any]:
        """See `Checkpointed.state`."""
        return {**super().state(), "means": self._means[: self._count].tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Checkpointed.restore`."""
        super().restore(state)
        self._count = len(state["means"])
        self._means[: self._count] = state["means"]
