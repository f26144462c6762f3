"""Evidence that a curve rises, valid however often it is looked at and from whatever moment on it rises.

An e-process is a number that is updated with each block and whose expectation at any moment, whatever made one stop
there, is at most 1 as long as the null hypothesis holds. So, by Ville's inequality, it ever reaches 1/alpha with a
probability of at most alpha. The null hypothesis here is "the mean does not rise": from each block to the next it changes
by `null` at the most, in any way at all.

`SlopeProcess` is that for a rise that begins at a known block: the closed form of Lindon, Ham, Tingley & Bojinov (2022),
"Anytime-valid linear models and regression adjusted causal inference", arXiv 2210.08589, for the slope of a line, with a
prior that is one-sided. `RiseDetector` is that for a rise that begins at an unknown block: an e-detector (Shin, Ramdas &
Rinaldo 2022, "E-detectors: a nonparametric framework for sequential change detection", arXiv 2203.03532), which adds up
one such process for each block that it may begin at. Of those starts fewer and fewer are kept the older they are, about
four for each doubling of the age: under 100 for 10^6 blocks. To drop a start makes a sum smaller, so nothing is lost but
a little speed.

The guarantee is exact for two-sided evidence of Gaussian blocks that are independent; else it is close. By simulation of
1000 series of 300 blocks, the share in which one process ever reaches 20 (0.05 is allowed) is 0.02 to 0.04 for Gaussian,
t3 and log-normal noise, and 0 on a convex decay; it is far more for correlated noise, for which there is `Dependence`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lrwatch.core.checkpoint import Checkpointed

# Precision of the prior of the slope, in units of the noise of a block: 1/sqrt(30), a fifth of the noise from each block to
# the next, is the rise that it expects. A lower one is sooner sure with few blocks, and hardly later with many.
PRECISION = 30.0

# Blocks whose differences tell how neighbours are correlated: the older ones fade.
MEMORY = 64

# As if this many differences more had shown a correlation of PRIOR_CORRELATION: with 30 blocks the estimate is rough, and
# to take noise for independent that is not costs false alarms, the reverse only time.
PRIOR_WEIGHT = 10
PRIOR_CORRELATION = 0.5

# The same for the variance of means over many blocks, in pairs of such means.
PRIOR_PAIRS = 4

# Ratio of g1 to g0 (see `Dependence`) above which differences tell of the curve and less and less of its noise: no first-order
# autoregression has one above 0, and chance rarely adds more than this; a curve without noise has 1.
SMOOTH = 0.25

# The most that neighbours are taken to be correlated: beyond it, differences of so few blocks cannot tell.
MAX_CORRELATION = 0.95

# A difference of more than this many units sets a new unit, so that squares and their sums stay in the range of a double.
LARGEST = 2.0**300

# Added to a residual sum of squares, in units: values that lie on a line exactly would divide by zero.
SMALLEST = 2.0**-900

_NEVER = -math.inf


def _one_over_unit(size: float) -> float:
    """One over the power of two next to `size` (> 0), to within what a double can hold."""
    return math.ldexp(1.0, -max(-1000, math.frexp(size)[1]))


class SlopeProcess:
    """How much evidence there is that the blocks rise, from the first on.

    It keeps the mean, the residual sum of squares and the products of blocks and time, all about their means. The evidence
    depends on neither scale nor level, so they are counted from the first block on, in a power of two of the size of the
    blocks' differences: so even the largest and the smallest floats can be squared.

    >>> import random
    >>> noise = random.Random(0)
    >>> process = SlopeProcess()
    >>> for block in range(40):
    ...     process.add(0.1 * block + noise.gauss(0, 1))
    >>> round(process.log_e(), 1)
    12.9

    Attributes:
        start: Number of the first block among all blocks of a `RiseDetector`.
        blocks: How many there were.
    """

    __slots__ = ("_mean", "_origin", "_per_unit", "_products", "_residuals", "blocks", "start")

    def __init__(self, start: int = 0) -> None:
        self.start = start
        self.blocks = 0
        self._origin = 0.0
        self._mean = 0.0
        self._per_unit = 0.0  # not known before two blocks differ
        self._products = 0.0
        self._residuals = 0.0

    def add(self, value: float) -> None:
        """Take the next block; it is finite, and so is twice of it."""
        n = self.blocks
        self.blocks = n + 1
        if n == 0:
            self._origin = value
            return
        moved = value - self._origin
        if moved == 0.0 and self._per_unit == 0.0:
            return
        scaled = moved * self._per_unit
        if self._per_unit == 0.0 or abs(scaled) > LARGEST:
            self._set_unit(_one_over_unit(abs(moved)))
            scaled = moved * self._per_unit
        deviation = scaled - self._mean
        self._mean += deviation / (n + 1)
        if n > 1:
            # What the line through the blocks before did not foretell, and its variance over that of the noise.
            surprise = deviation - 6 * self._products / (n * (n - 1))
            self._residuals += surprise * surprise * (n * (n - 1)) / ((n + 1) * (n + 2))
        self._products += deviation * n / 2

    def _set_unit(self, per_unit: float) -> None:
        shrink = per_unit / self._per_unit if self._per_unit else 0.0
        self._mean *= shrink
        self._products *= shrink
        self._residuals *= shrink * shrink
        self._per_unit = per_unit

    @property
    def slope(self) -> float:
        """Change from each block to the next, by least squares; 0 with fewer than two blocks."""
        n = self.blocks
        return 12 * (self._products / (n * (n * n - 1))) / self._per_unit if n > 1 and self._per_unit else 0.0

    def log_e(self, variance_factor: float = 1.0, null: float = 0.0, precision: float = PRECISION) -> float:
        """Logarithm of the e-process; minus infinity where nothing speaks for a rise.

        Args:
            variance_factor: By how much the variance of a mean over many blocks is larger than if they were independent.
            null: The null hypothesis is that the mean changes by this at the most from each block to the next.
            precision: Of the prior of the slope over the noise. It must not depend on the blocks from the first on.
        """
        n = self.blocks
        df = n / variance_factor - 2
        if n < 3 or df <= 0.0 or self._per_unit == 0.0:
            return _NEVER
        spread = n * (n * n - 1) / 12
        along = self._products - (null * self._per_unit * spread if null else 0.0)
        if along <= 0.0:  # the two-sided part of the formula would take a steep fall for evidence
            return _NEVER
        squared = along / spread * along * (n - 2) / (variance_factor * df * (self._residuals + SMALLEST))
        prior = precision / (precision + spread)
        log_two_sided = 0.5 * (math.log(prior) - (df + 1) * math.log(prior + (1 - prior) / (1 + squared)))
        return log_two_sided + math.log(math.erfc(-math.sqrt(squared * df * (1 - prior) / 2)))

    def state(self) -> list[float]:
        """JSON-plain state."""
        return [self.start, self.blocks, self._origin, self._mean, self._per_unit, self._products, self._residuals]

    @classmethod
    def restored(cls, state: list[Any]) -> SlopeProcess:
        """Return the process that had this state."""
        process = cls()
        process.start, process.blocks, process._origin, process._mean = state[:4]
        process._per_unit, process._products, process._residuals = state[4:]
        return process


class _Level:
    """Differences of neighbouring means over 2^j blocks, pair by pair: their mean and variance, in a unit of the caller."""

    __slots__ = ("count", "first", "mean", "variance")

    def __init__(self) -> None:
        self.first: float | None = None
        self.count = 0
        self.mean = 0.0
        self.variance = 0.0

    def add(self, difference: float) -> None:
        self.count = min(MEMORY // 2, self.count + 1)
        before = difference - self.mean
        self.mean += before / self.count
        self.variance += (before * (difference - self.mean) - self.variance) / self.count

    def rescale(self, shrink: float) -> None:
        self.mean *= shrink
        self.variance *= shrink * shrink


class Dependence:
    """By how much the variance of a long mean is larger than if neighbouring blocks were independent.

    The larger of two estimates, neither of which a trend disturbs much. The first takes the noise for a first-order
    autoregression, whose correlation is 1 + 2 g1/g0, where g0 and g1 are the mean square and the mean product of neighbours
    of first differences; where neighbours go the same way, the curve is smooth and its noise small. The second looks at means over 1, 2, 4, 8 ... blocks: the variance of the difference of two
    neighbouring ones should fall by half each time (Allan 1966, Proc. IEEE 54), and sees slow noise under fast noise, where
    the first is blind. Noise that is slower than the blocks seen so far, such as a random walk, neither can tell from a rise.
    By simulation, `RiseDetector.log_weighted` ever reaches 1/0.01 within 200 blocks of a flat curve in none of 400 runs with
    white or t3 noise, in 0.5 % at a correlation of 0.5, 3 % at 0.8 and 0.9, 8 % at 0.95, 10 % with white noise on top of 0.9.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._difference = 0.0
        self._per_unit = 0.0  # not known before two blocks differ
        self._count = 0
        self._square = 0.0
        self._product = 0.0
        self._levels: list[_Level] = []

    def add(self, value: float) -> None:
        """Take the next block; it is finite, and so is twice of it."""
        last, self._last = self._last, value
        if last is not None:
            scaled = self._scaled(value - last)
            self._count = min(MEMORY, self._count + 1)
            self._square += (scaled * scaled - self._square) / self._count
            if self._count > 1:
                self._product += (scaled * self._difference - self._product) / (self._count - 1)
            self._difference = scaled
        for level in self._levels:
            first = level.first
            if first is None:
                level.first = value
                return
            level.first = None
            level.add(self._scaled(value - first))
            value = (first + value) / 2
        level = _Level()
        level.first = value
        self._levels.append(level)

    def _scaled(self, difference: float) -> float:
        scaled = difference * self._per_unit
        if difference == 0.0 or (self._per_unit and abs(scaled) <= LARGEST):
            return scaled
        per_unit = _one_over_unit(abs(difference))
        shrink = per_unit / self._per_unit if self._per_unit else 0.0
        self._per_unit = per_unit
        self._difference *= shrink
        self._square *= shrink * shrink
        self._product *= shrink * shrink
        for level in self._levels:
            level.rescale(shrink)
        return difference * per_unit

    @property
    def correlation(self) -> float:
        """Estimated correlation of neighbours, 0 to MAX_CORRELATION."""
        ratio = self._product / self._square if self._square > 0.0 else -0.5
        raw = min(1 + 2 * ratio, 2 * (SMOOTH - ratio) + 1)
        shrunk = (self._count * raw + PRIOR_WEIGHT * PRIOR_CORRELATION) / (self._count + PRIOR_WEIGHT)
        return min(MAX_CORRELATION, max(0.0, shrunk))

    @property
    def variance_factor(self) -> float:
        """1 or more: 1 where blocks are independent."""
        correlation = self.correlation
        return max((1 + correlation) / (1 - correlation), self._variance_factor_of_means())

    def _variance_factor_of_means(self) -> float:
        variance = total = long_run = 0.0
        width = 1
        for level in self._levels:
            n = level.count
            if n < 2:
                break
            # Few pairs tell little: as if PRIOR_PAIRS more had shown no correlation from here on.
            prior = PRIOR_PAIRS if width > 1 else 0
            variance = (n * level.variance + prior * variance / 2) / (n - 1 + prior)
            total += variance / 4
            long_run = max(long_run, width * variance / 2)
            width *= 2
        total += variance / 4  # all wider levels together, were those independent
        return long_run / total if total > 0.0 else 1.0


class RiseDetector(Checkpointed):
    """Evidence that the blocks rise from some unknown block on.

    `log_sum` is for long runs: an alarm when it reaches log(A) comes, while nothing rises, once in A blocks or less often,
    and within n blocks with a probability of at most n/A. `log_weighted` is for a whole life: while nothing rises it ever
    reaches log(1/alpha) with a probability of at most alpha. Numbers of starts go on over `restart`, so that holds for all
    phases of a run together.
    """

    SAVED = ("blocks",)

    def __init__(self) -> None:
        self.blocks = 0
        self.starts: list[SlopeProcess] = []

    def add(self, value: float) -> None:
        """Take the next block, finite."""
        value *= 0.5  # so that no difference overflows
        newest = self.blocks
        self.blocks += 1
        thin = False
        for process in self.starts:
            process.add(value)
            age = newest - process.start
            thin |= age >= 8 and age & (age - 1) == 0
        if thin:
            self.starts = [process for process in self.starts if _is_kept(process.start, newest)]
        process = SlopeProcess(newest)
        process.add(value)
        self.starts.append(process)

    def restart(self) -> None:
        """Drop all starts: later blocks are not comparable with earlier ones."""
        self.starts = []

    def log_es(self, variance_factor: float = 1.0) -> list[float]:
        """`SlopeProcess.log_e` of each of `starts`."""
        return [process.log_e(variance_factor) for process in self.starts]

    def log_sum(self, variance_factor: float = 1.0) -> float:
        """Logarithm of the sum of all e-processes."""
        return log_sum(self.log_es(variance_factor))

    def log_weighted(self, variance_factor: float = 1.0) -> float:
        """Logarithm of the sum of all e-processes, each times `weight` of its start."""
        logs = zip(self.starts, self.log_es(variance_factor), strict=True)
        return log_sum([log_e + log_weight(process.start) for process, log_e in logs])

    def state(self) -> dict[str, Any]:
        """See `Checkpointed.state`. The JSON of it has 10 kB after 10^6 blocks."""
        return {**super().state(), "starts": [process.state() for process in self.starts]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Checkpointed.restore`."""
        super().restore(state)
        self.starts = [SlopeProcess.restored(start) for start in state["starts"]]


def _is_kept(start: int, newest: int) -> bool:
    """Whether `start` is a multiple of a quarter of the power of two in its age."""
    return start % (1 << max(0, (newest - start).bit_length() - 3)) == 0


def log_weight(start: int) -> float:
    """Logarithm of 1/((start + 1)(start + 2)): the weights of all starts add up to 1, however many there will be."""
    return -math.log((start + 1.0) * (start + 2.0))


def log_sum(logs: list[float]) -> float:
    """log(sum(exp(log))) without overflow; minus infinity of nothing."""
    largest = max(logs, default=_NEVER)
    if largest == _NEVER:
        return _NEVER
    return largest + math.log(sum([math.exp(log - largest) for log in logs]))
