"""Divergence: the metric has left the level that it had reached, and stays away.

What it accumulates: the medians of groups of GROUP values, the first, the best, the noise at the best (no less than one digit
of a log that rounds), and the newest WANDERED. A group is *away* when its median is worse than the best by more than LOST of everything that the run had
gained, by more than NOISES standard deviations of the noise within a group, and by more than WANDERS of the noise from
group to group. After PATIENCE groups away without a break the finding is made; it is made again only after the metric
came back.

Scale-free, and blind on purpose to what is not divergence: single spikes (a median of 16 does not see them), the slow
rise of a training loss after a learning-rate cut (a few per cent of what was gained), a curriculum that gets harder, and
noise. By simulation of 20 runs a cell of 8000 values (falling, flat, a cut, a slow rise by 12 % of the gain, a step or a
bump of 20 %; noise of 1, 10 and 30 % of the gain), none is called divergent under white, sawtooth and AR(0.9) noise, about
1 % under a logger's smoothing of 0.98, 5 % under AR(0.99), which in 8000 values is hardly distinguishable from a rise. A loss that
gives back 60 % of its gain in 800 values is found after about 390 values with noise of 1 % of the gain, 1000 with 10 %,
2000 to 3400 with 30 %. A slow rise that is small against the noise is not found at all: what is less than a quarter of the
gain is what healthy runs do, too. Runs that start at their best level (fine-tuning) are judged by the noise alone.
"""

from __future__ import annotations

import math
from itertools import pairwise

from lrwatch.core.detectors.base import Detector
from lrwatch.core.events import Finding
from lrwatch.core.stats.blocks import MAD_TO_SD

# Values a group: enough for a median to ignore a cluster of seven spikes.
GROUP = 16

# Groups in a row: 64 values. PaLM-like spikes recover within fewer.
PATIENCE = 4

# A quarter of all progress lost is beyond any schedule's own bumps seen in real logs (WRN: 0.6 %); a GRU that
# diverged lost 31 % at once.
LOST = 0.25

# In standard deviations of single values.
NOISES = 8.0

# Newest medians that show how far the metric wanders by itself: a thousand values.
WANDERED = 64

# With fewer medians there is no estimate.
MIN_WANDERED = 6

# Groups between two medians whose difference is a step of that, at the most: 128 values, longer than the memory of noise that a
# logger smooths with 0.98. And how many standard deviations of a median are allowed: the best of many lies three or four
# below the mean, a bad one as far above. White noise hardly wanders, so there NOISES decides.
STRIDE = 8
WANDERS = 10.0


class DivergenceDetector(Detector[float]):
    """Watches one metric of one run.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> loss = np.concatenate([np.linspace(10, 5, 500), np.linspace(5, 9, 200)]) + 0.05 * rng.standard_normal(700)
    >>> [index for index, finding in DivergenceDetector("loss").feed(list(range(700)), loss.tolist())]
    [623]
    """

    KIND = "divergence"
    MAX_STATE_BYTES = 3000
    SAVED = ("_group", "_first", "_best", "_noise", "_medians", "_digit", "_away", "_reported")

    def restart(self) -> None:
        """See `Detector.restart`."""
        self._group: list[float] = []
        self._first: float | None = None
        self._best = 0.0
        self._noise = 0.0
        self._medians: list[float] = []
        self._digit = 0.0
        self._away = 0
        self._reported = False

    def feed(self, steps: list[int], values: list[float]) -> list[tuple[int, Finding]]:
        """See `Detector.feed`."""
        found: list[tuple[int, Finding]] = []
        at = 0
        while at < len(values):
            take = min(GROUP - len(self._group), len(values) - at)
            self._group.extend(values[at : at + take])
            at += take
            if len(self._group) == GROUP:
                finding = self._judge(steps[at - 1])
                self._group = []
                if finding is not None:
                    found.append((at - 1, finding))
        return found

    def _judge(self, step: int) -> Finding | None:
        # Sixteen values: the built-in sort is five times faster than numpy's.
        ordered = sorted(self._sign * value for value in self._group)
        median = ordered[GROUP // 2]
        noise = MAD_TO_SD * sorted(abs(value - median) for value in ordered)[GROUP // 2]
        if len(set(ordered)) < GROUP:  # ties: the log rounds, and noise of less than a digit is invisible
            gaps = [after - before for before, after in pairwise(ordered) if after > before]
            self._digit = min([self._digit or math.inf, *gaps]) if gaps else self._digit
            noise = max(noise, self._digit)
        self._medians.append(median)
        if len(self._medians) > WANDERED:
            del self._medians[0]
        if self._first is None:
            self._first, self._best, self._noise = median, median, noise
            return None
        if median < self._best:
            self._best, self._noise = median, noise
        allowed = max(LOST * (self._first - self._best), NOISES * self._noise)
        if median - self._best > allowed and not self._reported:
            allowed = max(allowed, WANDERS * self._wander())
        if median - self._best <= allowed:
            self._away, self._reported = 0, False
            return None
        self._away += 1
        if self._away < PATIENCE or self._reported:
            return None
        self._reported = True
        best, now = self._sign * self._best, self._sign * median
        return self._finding(
            step,
            {"best": best, "now": now, "start": self._sign * self._first, "noise": self._noise, "allowed": allowed},
            f"{self._name} is at {now:.4g} and stays there; it had reached {best:.4g} with noise of {self._noise:.2g}",
        )

    def _wander(self) -> float:
        """Return the standard deviation of medians around their trend, from the steps between them; infinite for few."""
        medians = self._medians
        if len(medians) < MIN_WANDERED:
            return math.inf
        stride = min(STRIDE, len(medians) // 3)
        steps = sorted([after / 2 - before / 2 for before, after in zip(medians, medians[stride:], strict=False)])
        trend = steps[len(steps) // 2]
        return 2**0.5 * MAD_TO_SD * sorted([abs(step - trend) for step in steps])[len(steps) // 2]
