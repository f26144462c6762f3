"""Too slow: the learning rate may be too low. A suspicion, and marked as one: a curve alone cannot prove it.

What it accumulates: means of blocks of equal length since the phase began; when there are BLOCKS of them, neighbours merge,
so the curve is looked at when the age of the phase has doubled, and not in between.

A healthy curve bends: it falls fast and then slower. One that falls in a straight line has not come to where progress gets
hard, and would be there sooner with a higher rate. It is reported when, at two looks running, (1) the slope of the second half is
more than STRAIGHT of that of the first, by DEVIATIONS standard errors, and no more than 1/STRAIGHT of it, and (2) the
metric has improved by GAIN of its level in the phase, so that continuing in a line for as long again would bring as much. The errors come from the scatter around the
two lines, whose correlation is not looked at: what must be small here is the noise.

False findings at these settings: none in 1,120 runs of 20,000 values, ten kinds of noise at two sizes on power laws with
exponents of 0.05 to 0.5, an exponential approach and a level. A curve under a warmup or a schedule that falls is straight for
other reasons: the caller does not ask then. Raising a learning rate is never done for this alone.
"""

from __future__ import annotations

import math

from lrwatch.core.detectors.base import Detector, Silence
from lrwatch.core.events import Finding
from lrwatch.core.words import percent

# Blocks of a whole window, and values of the first ones: the first look comes after 1,024 values.
BLOCKS = 64
FIRST_WIDTH = 16

# The second half falls at least this much as steeply as the first.
STRAIGHT = 0.9

# In standard errors of the difference.
DEVIATIONS = 3.0

# Relative to the level at the beginning of the phase. A power law that lost as little of its slope gained less.
GAIN = 0.1

# Looks running.
LOOKS = 2


class TooSlowDetector(Detector[float]):
    """Watches one metric of one run.

    >>> import numpy as np
    >>> loss = 5 - np.arange(5000) / 2500 + 0.02 * np.random.default_rng(0).standard_normal(5000)
    >>> [index for index, finding in TooSlowDetector("loss").feed(list(range(5000)), loss.tolist())]
    [4095]
    """

    KIND = "too_slow"
    SCOPE = "phase"
    SHIFT_INVARIANT = False
    MAX_STATE_BYTES = 4000
    SAVED = ("_width", "_means", "_sum", "_filled", "_straight", "_first")

    def restart(self) -> None:
        """See `Detector.restart`."""
        self._width = FIRST_WIDTH
        self._means: list[float] = []
        self._sum = 0.0
        self._filled = 0
        self._straight = 0
        self._first: int | None = None

    def feed(self, steps: list[int], values: list[float]) -> list[tuple[int, Finding]]:
        """See `Detector.feed`."""
        found: list[tuple[int, Finding]] = []
        if values and self._first is None:
            self._first = steps[0]
        at = 0
        while at < len(values):
            end = at + min(self._width - self._filled, len(values) - at)
            total = self._sum
            for value in values[at:end]:
                total += value / self._width
            self._sum = total
            self._filled += end - at
            at = end
            if self._filled == self._width:
                self._means.append(self._sign * total)
                self._sum, self._filled = 0.0, 0
                if len(self._means) == BLOCKS:
                    if (finding := self._judge(steps[at - 1])) is not None:
                        found.append((at - 1, finding))
                    self._means = [a / 2 + b / 2 for a, b in zip(self._means[::2], self._means[1::2], strict=True)]
                    self._width *= 2
        return found

    @property
    def silence(self) -> Silence:
        """See `Detector.silence`: it judges when all blocks are full."""
        return Silence((BLOCKS - len(self._means)) * self._width - self._filled - 1)

    def _judge(self, step: int) -> Finding | None:
        half = BLOCKS // 2
        (early, first_error), (late, error) = _line(self._means[:half]), _line(self._means[half:])
        level = abs(self._means[0])
        gain = -(early + late) * half
        certain = -(late - STRAIGHT * early) > DEVIATIONS * math.hypot(error, STRAIGHT * first_error)
        straight = early < 0 and STRAIGHT * late > early and certain and math.isfinite(gain) and gain > GAIN * level > 0
        self._straight = self._straight + 1 if straight else 0
        if self._straight != LOOKS:
            return None
        assert self._first is not None
        steps = step - self._first
        return self._finding(
            step,
            {
                "suspicion": True,
                "gain_ratio": gain / level,
                "slope_ratio": late / early,
                "steps": steps,
                "level": self._sign * self._means[-1],
            },
            f"{self._name} improved by {percent(gain / level)} in {steps:,} steps along a straight line (the second half is "
            f"{late / early:.2f} times as steep as the first); the learning rate may be too low, but this is only a hint",
        )


def _line(values: list[float]) -> tuple[float, float]:
    """Least-squares slope from one value to the next, and its standard error for independent scatter."""
    n = len(values)
    middle = (n - 1) / 2
    spread = n * (n * n - 1) / 12
    # Relative to the largest, so that squares stay finite.
    size = max(map(abs, values)) or 1.0
    mean = math.fsum([value / size for value in values]) / n
    deviations = [value / size - mean for value in values]
    slope = math.fsum([(i - middle) * d for i, d in enumerate(deviations)]) / spread
    left = math.fsum([(d - slope * (i - middle)) ** 2 for i, d in enumerate(deviations)])
    return size * slope, size * math.sqrt(left / (n - 2) / spread)
