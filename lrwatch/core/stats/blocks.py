"""A curve as means over blocks of equal length, in bounded memory: when there are too many, neighbours merge.

Values are winsorised on the way in, causally: a value further than six robust standard deviations from the median of
the 64 before it is pulled back to that distance, so that a spike cannot bend a slope, while a true change of level
passes after a few dozen values.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from lrwatch.core.sample import Floats

# Values that the robust centre and scale are taken from.
RING = 64

# No clipping before this many values: a median of fewer says little.
MIN_RING = 16

# Distance in robust standard deviations beyond which a value is a spike; real step losses have 0.1 to 0.4 % of their
# values beyond 5.
CLIP = 6.0

# The median absolute deviation of Gaussian noise is its standard deviation over this.
MAD_TO_SD = 1.4826

# Blocks kept at the most. Merging halves them, so there are never fewer than half; five horizons of 128 blocks fit.
CAPACITY = 1280


class Winsor:
    """Clips spikes, judged by the values before them."""

    def __init__(self) -> None:
        self._ring = np.empty(0, np.float64)

    def clip(self, values: Floats) -> Floats:
        """`values` (shape (n,), at most RING of them, finite), with spikes pulled back."""
        ring = self._ring
        self._ring = np.concatenate([ring, values])[-RING:]
        if len(ring) < MIN_RING:
            return values
        with np.errstate(over="ignore"):
            centre = _median(np.sort(ring))
            spread = CLIP * MAD_TO_SD * _median(np.sort(np.abs(ring - centre)))
            if spread == 0.0 or not np.isfinite(spread):
                return values  # a quantised or constant metric: nothing to judge by
            return cast("Floats", np.clip(values, centre - spread, centre + spread))

    def state(self) -> list[float]:
        """JSON-plain state."""
        return [float(value) for value in self._ring]

    def restore(self, state: list[float]) -> None:
        """The inverse of `state`."""
        self._ring = np.array(state, np.float64)


def _median(ordered: Floats) -> float:
    half = len(ordered) // 2
    return float(ordered[half] if len(ordered) % 2 else ordered[half - 1] / 2 + ordered[half] / 2)


class Blocks:
    """Block means of a curve, oldest first.

    Attributes:
        width: Values a block.
    """

    def __init__(self) -> None:
        self.width = 1
        self._means = np.empty(CAPACITY, np.float64)
        self._count = 0
        self._sum = 0.0
        self._filled = 0

    def __len__(self) -> int:
        return self._count

    def last(self, n: int) -> Floats:
        """The newest `n` block means (a view, shape (n,))."""
        return self._means[self._count - n : self._count]

    def extend(self, values: Floats) -> None:
        """Append finite values, shape (n,)."""
        at = 0
        while at < len(values):
            take = min(self.width - self._filled, len(values) - at)
            if take == self.width == 1:  # short runs: every value is a block
                self._append(float(values[at]))
            else:
                # Divide first: a sum of huge values overflows, their mean does not.
                self._sum += float(np.sum(values[at : at + take] / self.width))
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
        """JSON-plain state."""
        return {
            "width": self.width,
            "means": self._means[: self._count].tolist(),
            "sum": self._sum,
            "filled": self._filled,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        means = state["means"]
        self.width, self._sum, self._filled = state["width"], state["sum"], state["filled"]
        self._count = len(means)
        self._means[: self._count] = means
