"""Whether a metric has improved significantly since the run began: before that, flat is not yet a plateau.

What it accumulates: means of up to BLOCKS blocks of equal length since the run began; when there are as many, neighbours
merge. The improvement is significant when the median of the newest fifth of the blocks is better than the median of the
first FIRST of them, by more than an improvement worth having and NOISES standard deviations of a block. That standard
deviation comes from how blocks a few places apart deviate from a line, so noise that wanders counts and a trend does not.

What is worth having is the noise of one value, but no less than LEAST and no more than MOST times `min_improvement`: a
rate of a warmup's first epoch lowers a loss a little, too, and says nothing of what will come.

By simulation of runs of 2,000 values that only wander, with noise of 1, 5 and 30 % of the level (60 runs a cell), it says
so in none with white, t3 and log-normal noise, in 3 of 180 with spikes, in 1 with AR(0.9), in 10 with AR(0.98). A loss
that falls in a line by a third within 2,000 values is known to fall after 175 values with noise of 0.1 %, 303 with 1 %,
1,215 with 10 %; one that falls by two thirds within ten epochs after eleven epochs; one that rests for 1,000 values and then
falls after 1,215.
"""

from __future__ import annotations

from typing import NamedTuple

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.options import DetectOptions
from lrwatch.core.stats.blocks import MAD_TO_SD

# Blocks of a run.
BLOCKS = 32

# Fewer blocks show no noise.
MIN_BLOCKS = 12

# Blocks at the beginning whose median is where the run began.
FIRST = 3

# In standard deviations of a block: the level at the beginning is the median of three.
NOISES = 6.0

# Share of the blocks, and how many at the least, that show where the metric is now.
NEWEST = 1 / 5
MIN_NEWEST = 4

# Places between the blocks whose deviation from a line shows how the metric wanders.
STRIDES = (1, 2, 4)

# Fewer deviations show no noise.
MIN_DEVIATIONS = 6

# Share of the steps of a run that are its beginning: a log that goes back there is one of another run.
BEGINNING = 0.1

# What is worth having, in units of `min_improvement`: 2 % and 5 % with the default.
LEAST = 4.0
MOST = 10.0


DEFAULTS = DetectOptions()


class Improved(NamedTuple):
    """By `step` the metric has improved significantly since the run began; where `once` is false, another run begins there."""

    step: int
    once: bool = True


class ProgressCheck(Checkpointed):
    """Watches one metric of one run.

    Args:
        options: Direction of the metric, and which improvement is worth having.

    >>> import numpy as np
    >>> loss = 10 * 0.99 ** np.maximum(0, np.arange(1000) - 400) + 0.1 * np.random.default_rng(0).standard_normal(1000)
    >>> ProgressCheck().feed(list(range(1000)), loss.tolist())
    [(447, Improved(step=447, once=True))]
    """

    SAVED = ("_means", "_width", "_sum", "_filled", "_noise", "_first", "_newest", "_improved")

    def __init__(self, options: DetectOptions = DEFAULTS) -> None:
        self._options = options
        self._sign = 1.0 if options.direction == "min" else -1.0
        self._newest = 0
        self._restart()

    def _restart(self) -> None:
        self._improved = False
        self._first: int | None = None
        self._means: list[float] = []
        self._width = 1
        self._sum = 0.0
        self._filled = 0
        # Of one value, robust; over the first blocks.
        self._noise = 0.0

    @property
    def improved(self) -> bool:
        """Whether it has improved significantly since the run began."""
        return self._improved

    def rewind(self, step: int) -> bool:
        """Learn that the log goes back to `step`. Return whether another run begins there, and not one that is resumed."""
        if self._first is not None and step - self._first > BEGINNING * (self._newest - self._first):
            return False
        self._restart()
        return True

    def feed(self, steps: list[int], values: list[float]) -> list[tuple[int, Improved]]:
        """Take finite samples in log order.

        Args:
            steps: Their steps.
            values: The values.

        Returns:
            The news, if there is any, with the index of its sample.
        """
        if not values:
            return []
        if self._first is None:
            self._first = steps[0]
        self._newest = steps[-1]
        at = 0
        while at < len(values) and not self._improved:
            end = min(at + self._width - self._filled, len(values))
            total = self._sum
            for value in values[
                at:end
            ]:  # `sum` rounds otherwise, so that the result would depend on how the values are cut
                total += value / self._width
            self._sum, self._filled = total, self._filled + end - at
            at = end
            if self._filled == self._width:
                self._means.append(self._sign * total)
                self._sum, self._filled = 0.0, 0
                self._improved = len(self._means) >= MIN_BLOCKS and self._has_improved()
                if len(self._means) == BLOCKS:
                    self._means = [a / 2 + b / 2 for a, b in zip(self._means[::2], self._means[1::2], strict=True)]
                    self._width *= 2
                if self._improved:
                    self._means = []
                    return [(at - 1, Improved(steps[at - 1]))]
        return []

    def _has_improved(self) -> bool:
        means = self._means
        newest = max(MIN_NEWEST, int(NEWEST * len(means)))
        began, now = _median(means[:FIRST]), _median(means[-newest:])
        if not now < began:
            return False
        noise = max(_noise(means, stride) for stride in STRIDES if len(means) - 2 * stride >= MIN_DEVIATIONS)
        if self._width == 1:
            self._noise = _noise(means, 1)
        worth = self._options.min_improvement * (abs(began) if self._options.relative else 1.0)
        asked = min(max(self._noise, LEAST * worth), MOST * worth)
        # Halves, so that nothing overflows.
        return bool(began / 2 - now / 2 > asked / 2 + NOISES * noise / 2)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _noise(means: list[float], stride: int) -> float:
    """Return the standard deviation of a block, robust: of three blocks `stride` apart, how far the middle one is off."""
    triples = zip(means, means[stride:], means[2 * stride :], strict=False)
    off = [abs(left / 4 + right / 4 - middle / 2) for left, middle, right in triples]
    return 4 / 6**0.5 * MAD_TO_SD * _median(off)
