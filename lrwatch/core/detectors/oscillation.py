"""Oscillation: the learning rate is too high for the curvature, so that the metric is thrown to and fro.

What it accumulates, over segments of SEGMENT values of one phase: the mean square of the differences of neighbours over that
of values two apart, the median difference of neighbours, the mean of the values, and, only while there is something to and fro,
the autocorrelation at lags of up to half a segment. It looks for two signs; a single value is only stored.

*To and fro.* Where a step overshoots, every second value is worse. Differences of values two apart are then smaller than those
of neighbours; with independent values they are alike, with positive correlation or a trend they are larger, so that smoothing,
sawtooths and slow waves are never taken for it. The statistic is 1 - G2/G1 (close kin to von Neumann's ratio, Ann. Math.
Statist. 12, 1941, and trend-immune); under independent values its variance is 2/n. Batches that come again in the same order
betray themselves: values an order apart are more alike than those two apart, and nothing is reported. What lasts is called
"period 2", what dies out after a few values "negative correlation". Two kinds of batches in turn look like the former, which
the message says.

*Noise.* The scatter of neighbours is NOISIER times what it was at its least in this phase, in two segments running, and the
metric is worse than at its best, as a mean over a segment, by half of what the scatter grew by, at a high confidence. Either alone is
innocent: a batch size, a slope.

Slow waves are not reported: from the metric alone they cannot be distinguished from the order of the data. False findings at these
settings: none in 5,400 runs of 20,000 values, 200 for each of 27 kinds of noise at two sizes on five curves that fall or
rest (white, autocorrelated, smoothed, heavy-tailed, skewed, random walk, volatility in clusters, variance that falls or rises tenfold, sawtooths
of 7 to 3000 values, batches in an order of 3, 5, 33 and 100); 5 % where a smoothing of 0.98 hides noise that grows tenfold. In
4320 runs with batches in an order of 3 to 300 of which 30 to 100 % of the variance is, thirteen: orders of 4 and 6 that are all
but an alternation. Found in 40 of 40 runs: alternations of half a standard deviation of the noise, autoregressions of -0.5; in 20 of
20 a scatter that doubles or trebles while the level rises by three quarters of the new one.
"""

from __future__ import annotations

import math

import numpy as np

from lrwatch.core.detectors.base import Detector, Silence
from lrwatch.core.events import Finding
from lrwatch.core.sample import Floats

# Values a segment, and segments that the first sign looks at together.
SEGMENT = 256
SEGMENTS = 4

# The statistic of the first sign in its own standard deviations, looked at once a segment: 1e-9 for a look.
DEVIATIONS = 6.0

# ... and its size, for a sign that matters: a fifth of the variance is to and fro.
LEAST = 0.3

# Values so far apart that they are more alike than those two apart, by ORDER of the variance, show the order of the data. By
# chance the best of 125 is so by about 0.24 in one segment, and by less in the mean of more; values two apart are to be alike by
# twice that.
ORDER = 0.25

# To and fro that lasts: what correlation there is LASTING values on and further. An autoregression with a coefficient of -0.9
# has an eighth left there, an exact alternation all.
LASTING = 20

# The scatter of the second sign, what of it is not gone yet, and in how many segments running.
NOISIER = 2.0
STILL_NOISY = 1.5
NOISY_SEGMENTS = 2

# The level is worse by half of what the scatter grew by (where the weights are thrown about in two directions or more, the mean
# rises by as much as the scatter does: both come from the same squares), by this many standard errors, from the
# means of PARTS parts of a segment and the correlation of those, taken for some two standard errors more than so few of them show.
DEVIATIONS_OF_LEVEL = 4.0
PARTS = 16
PESSIMISM = 0.45
MAX_CORRELATION = 0.95

# What stands for infinity in evidence.
LARGEST = float(np.finfo(np.float64).max)

# Below this, a division by the largest value loses digits.
SMALLEST = float(np.finfo(np.float64).tiny)

# Median of the absolute difference of two Gaussian values of standard deviation 1.
MEDIAN_CHANGE = 0.9539


class OscillationDetector(Detector[float]):
    """Watches one metric of one run.

    >>> import numpy as np
    >>> loss = 2 + 0.1 * np.random.default_rng(0).standard_normal(2000)
    >>> loss[1000:] += 0.1 * (-1) ** np.arange(1000)
    >>> found = OscillationDetector("loss").feed(list(range(2000)), loss.tolist())
    >>> [(index, finding.evidence["how"]) for index, finding in found]
    [(1535, 'period 2')]
    """

    KIND = "oscillation"
    SCOPE = "phase"
    SAVED = ("_reported", "_segment", "_apart", "_least", "_noisy", "_alike", "_looks")

    def restart(self) -> None:
        """See `Detector.restart`."""
        self._reported: list[str] = []
        self._segment: list[float] = []
        self._apart: list[float] = []
        self._least: list[float] | None = None
        self._noisy = 0
        self._alike: list[float] = []
        self._looks = 0

    def feed(self, steps: list[int], values: list[float]) -> list[tuple[int, Finding]]:
        """See `Detector.feed`."""
        waiting = self._segment
        waiting += values
        if len(waiting) < SEGMENT:
            return []
        found: list[tuple[int, Finding]] = []
        before = len(waiting) - len(values)
        whole = len(waiting) // SEGMENT * SEGMENT
        for at in range(0, whole, SEGMENT):
            last = at + SEGMENT - before - 1
            found.extend((last, finding) for finding in self._judge(steps[last], waiting[at : at + SEGMENT]))
        del waiting[:whole]
        return found

    @property
    def silence(self) -> Silence:
        """See `Detector.silence`: it judges whole segments."""
        return Silence(SEGMENT - len(self._segment) - 1)

    def _judge(self, step: int, segment: list[float]) -> list[Finding]:
        values = np.array(segment)
        values *= self._sign
        # What is relative to the largest value can be squared, whatever its size.
        size = float(np.abs(values).max())
        if size < SMALLEST:
            return []
        values /= size
        changes, second = values[1:] - values[:-1], values[2:] - values[:-2]
        near, apart = float(changes.dot(changes)) / len(changes), float(second.dot(second)) / len(second)
        if near == 0.0:
            return []
        # The median of differences does not see spikes.
        middle = len(changes) // 2
        scatter = size * (float(np.partition(np.abs(changes), middle)[middle]) / MEDIAN_CHANGE)
        level, error = _level(values)
        found = [
            self._to_and_fro(step, values, apart / near, scatter),
            self._noise(step, scatter, size * level, size * error),
        ]
        return [finding for finding in found if finding is not None]

    def _once(self, what: str, *, there: bool, gone: bool) -> bool:
        """Whether to report a sign now: it is there, and was not reported since it was gone. Between the two nothing changes."""
        if gone:
            self._reported = [name for name in self._reported if name != what]
        if gone or not there or what in self._reported:
            return False
        self._reported = [*self._reported, what]
        return True

    def _to_and_fro(self, step: int, values: Floats, ratio: float, scatter: float) -> Finding | None:
        # Ratios of a segment, not sums over segments: a segment with more noise has no more to say.
        self._apart = [*self._apart, ratio][-SEGMENTS:]
        statistic = 1 - sum(self._apart) / len(self._apart)
        deviations = statistic * math.sqrt(len(self._apart) * SEGMENT / 2)
        gone = statistic < LEAST / 2
        if statistic <= LEAST or deviations <= DEVIATIONS or "to and fro" in self._reported:
            self._alike, self._looks = [], 0
            self._once("to and fro", there=False, gone=gone)
            return None
        now = _alike(values)
        self._looks += 1
        self._alike = (now + np.array(self._alike) if self._alike else now).tolist()
        alike = np.array(self._alike) / self._looks
        chance = ORDER / math.sqrt(self._looks)
        if alike[2] < 2 * chance or alike[3:].max() > alike[2] + chance:
            return None
        self._once("to and fro", there=True, gone=False)
        lasting = float(alike[LASTING::2].mean() - alike[LASTING + 1 :: 2].mean()) / 2
        how = "period 2" if lasting > alike[2] / 2 else "negative correlation"
        if how == "period 2":
            message = (
                f"every second value of {self._name} is worse, which makes up about {100 * statistic / (2 - statistic):.0f} % of its variance; "
                "the learning rate may be too high (two kinds of batches in turn look the same)"
            )
        else:
            message = (
                f"{self._name} jumps up and down from one value to the next (correlation of neighbours {alike[1]:.2f}); the learning "
                "rate may be too high"
            )
        return self._finding(
            step,
            {
                "how": how,
                "statistic": statistic,
                "deviations": deviations,
                "values": len(self._apart) * SEGMENT,
                "von_neumann": 2 * (1 - float(alike[1])),
                "correlation": float(alike[1]),
                "scatter": min(scatter, LARGEST),
                "scatter_before": self._least[0] if self._least else None,
            },
            message,
        )

    def _noise(self, step: int, scatter: float, level: float, error: float) -> Finding | None:
        if not 0.0 < scatter < math.inf:
            return None
        least = self._least
        worse = (
            least is not None
            and scatter > NOISIER * least[0]
            and level - least[1] > (scatter - least[0]) / 2 + DEVIATIONS_OF_LEVEL * error
        )
        self._noisy = self._noisy + 1 if worse else 0
        self._least = [scatter, level] if least is None else [min(scatter, least[0]), min(level, least[1])]
        gone = least is None or scatter < STILL_NOISY * least[0]
        if not self._once("noise", there=self._noisy >= NOISY_SEGMENTS, gone=gone) or least is None:
            return None
        return self._finding(
            step,
            {
                "how": "noise",
                "scatter": scatter,
                "scatter_before": least[0],
                "level": self._sign * level,
                "level_before": self._sign * least[1],
            },
            f"{self._name} scatters {scatter / least[0]:.1f} times as much as earlier in this phase, and is worse: "
            f"{self._sign * level:.4g} after {self._sign * least[1]:.4g}; the learning rate may be too high",
        )


def _level(values: Floats) -> tuple[float, float]:
    """Mean of `values` (shape (n,), n divisible by PARTS), and its standard error, with correlation allowed for."""
    parts = values.reshape(PARTS, -1).mean(axis=1)
    level = float(parts.mean())
    parts -= level
    squares = float(parts.dot(parts))
    if squares == 0.0:
        return level, 0.0
    correlation = min(max(float(parts[1:].dot(parts[:-1])) / squares + PESSIMISM, 0.0), MAX_CORRELATION)
    return level, math.sqrt(squares / PARTS / (PARTS - 1) * (1 + correlation) / (1 - correlation))


def _alike(values: Floats) -> Floats:
    """Correlation of values (shape (n,), not all alike) with those 0, 1, ..., n/2 - 1 further on, the trend taken off."""
    n = len(values)
    t = np.arange(n) - (n - 1) / 2
    deviations = values - values.mean()
    deviations -= t * (t.dot(deviations) / t.dot(t))
    power = np.abs(np.fft.rfft(deviations, 2 * n)) ** 2
    sums = np.fft.irfft(power)[: n // 2]
    return np.asarray(sums / sums[0] * (n / np.arange(n, n - n // 2, -1)), np.float64)
