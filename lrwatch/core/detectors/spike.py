"""Spike: for a few values the metric is far worse than before, and comes back.

What it accumulates: the newest RING values for a centre (median) and a scale (from the quartiles, no less than the usual one
of the last groups), the largest value of each of the last groups for the tail, and the places of the spikes in the
last WINDOW values. All of it is brought up to date once a group of GROUP values, so what is judged is judged by the past.

A value is *high* when it lies more than HIGH scales above the centre. A spike is HIGH_VALUES high ones among NEAR
neighbours, or a single one beyond what the tail of the metric itself lets expect once in 1/RARE groups (a Frechet tail
through two quantiles of the group maxima: de Haan & Ferreira 2006, "Extreme Value Theory"), so that noise with heavy tails is
not taken for spikes. It is said when the metric has come back; what stays away is a level shift or divergence, and is left
to those.

An isolated spike is no reason to act: PaLM's did not come back when the same batches were seen again from an earlier
checkpoint (Chowdhery et al. 2022, section 5.1). So one is said, and the next ones not before they are RECURRING in WINDOW
values, or after WINDOW values without any. Severity is the height in scales. False findings at these settings, 200 runs of
20,000 values for each of nine kinds of noise, falling: none with white, autocorrelated, smoothed and random-walk noise and
under sawtooths and changing variance; 1 % with Student t of 3 degrees of freedom and log-normal of deviation 0.8, 1.5 % with t of 2.2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrwatch.core.events import Finding
from lrwatch.core.sample import Floats, Ints

# Values a group, and values that centre and scale are taken from.
GROUP = 16
RING = 64

# Groups that the tail and the usual scale are taken from.
GROUPS = 64

# Fewer groups know too little of the tail. It is looked at once in TAIL_GROUPS.
MIN_GROUPS = 8
TAIL_GROUPS = 4

# The quartiles of Gaussian noise lie this many standard deviations apart.
QUARTILES = 1.349

# In scales above the centre. Skewed noise (log-normal of deviation 0.8) is there three times in a thousand values.
HIGH = 10.0

# So many high values among so many neighbours are no chance: 3e-7 even there.
HIGH_VALUES = 3
NEAR = 5

# Probability of a group with a value beyond the bound for single values: with Gaussian noise that lies at some 25 scales.
RARE = 1e-6

# A Frechet maximum lies below x with exp(-(x/s)^(-1/index)); -log of that is 0.693 at the median, 0.105 at the quantile 0.9
# and RARE at the bound. So the bound lies above the median by this power of the ratio of those two.
MIDDLE, LARGE = -math.log(0.5), -math.log(0.9)
POWER = math.log(MIDDLE / RARE) / math.log(MIDDLE / LARGE)

# A ratio beyond this is noise without any scale, where no single value is a spike.
LARGEST_RATIO = 100.0

# So many values in a row that are not high end a spike; one that lasts longer than this is none.
BACK = 3
LONGEST = 64

# What stands for infinity in a state that is plain JSON.
LARGEST = float(np.finfo(np.float64).max)

# Spikes in the last WINDOW values that are recurring.
WINDOW = 10_000
RECURRING = 5


class SpikeDetector:
    """Watches one metric of one run.

    >>> import numpy as np
    >>> loss = 2 + 0.1 * np.random.default_rng(0).standard_normal(2000)
    >>> loss[1000:1010] += 3
    >>> [(i, round(finding.evidence["severity"])) for i, finding in SpikeDetector("loss").feed(np.arange(2000), loss)]
    [(1012, 31)]
    """

    def __init__(self, metric: str = "", direction: str = "min") -> None:
        self._metric = metric
        self._sign = 1.0 if direction == "min" else -1.0
        self._seen = 0
        self._spikes: list[int] = []
        self._said_at: int | None = None
        self._said_recurring = False
        self.restart()

    def restart(self) -> None:
        """A new phase: level, scale and tail are learned anew; spikes are remembered."""
        self._group: list[float] = []
        self._ring: list[float] = []
        self._scales: list[float] = []
        self._tops: list[float] = []
        self._centre = self._scale = self._usual = 0.0
        self._single = self._tail = LARGEST
        self._highs: list[int] = []
        self._first: list[int] | None = None
        self._peak = 0.0

    def feed(self, steps: Ints, values: Floats) -> list[tuple[int, Finding]]:
        """Take finite samples (shape (n,) each). -> what is new, each with the index of the sample that showed it."""
        return self.feed_lists(steps.tolist(), values.tolist())

    def feed_lists(self, steps: list[int], values: list[float]) -> list[tuple[int, Finding]]:
        """`feed`, of lists."""
        found: list[tuple[int, Finding]] = []
        at = 0
        while at < len(values):
            end = at + min(GROUP - len(self._group), len(values) - at)
            part = values[at:end]
            if self._sign < 0:
                part = [-value for value in part]
            self._group.extend(part)
            if self._scale > 0.0 and (self._highs or max(part) > self._centre + HIGH * self._scale):
                self._search(steps, part, at, found)
            self._seen += len(part)
            at = end
            if len(self._group) == GROUP:
                self._learn()
        return found

    def _search(self, steps: list[int], part: list[float], at: int, found: list[tuple[int, Finding]]) -> None:
        bound = self._centre + HIGH * self._scale
        for i, value in enumerate(part):
            place = self._seen + i
            if value > bound:
                self._highs = [*(h for h in self._highs if self._first or place - h < NEAR), place][-HIGH_VALUES:]
                self._peak = max(self._peak, value)
                if self._first is None and (len(self._highs) == HIGH_VALUES or value > self._single):
                    self._first = [self._highs[0], steps[at + i]]
            elif self._highs and place - self._highs[-1] >= (BACK if self._first else NEAR):
                if self._first is not None and self._highs[-1] - self._first[0] < LONGEST:
                    finding = self._spike(steps[at + i], place)
                    if finding is not None:
                        found.append((at + i, finding))
                self._highs, self._first, self._peak = [], None, 0.0

    def _spike(self, step: int, place: int) -> Finding | None:
        assert self._first is not None
        first, since = self._first
        self._spikes = [*(old for old in self._spikes if place - old < WINDOW), first][-RECURRING:]
        recurring = len(self._spikes) == RECURRING
        if len(self._spikes) == 1:
            self._said_at, self._said_recurring = None, False
        if self._said_recurring if recurring else self._said_at is not None:
            return None
        self._said_at, self._said_recurring = place, recurring or self._said_recurring
        lasted = self._highs[-1] - first + 1
        height = min(self._peak - self._centre, LARGEST)
        severity = min(height / self._scale, LARGEST)
        name = self._metric or "the metric"
        where = (
            f"{name} was {height:.3g} ({severity:.0f} deviations) off its level at step {since}, for {lasted} values"
        )
        if recurring:
            message = f"{where}; it is the spike number {RECURRING} in {place - self._spikes[0]} values: the training is unstable"
        else:
            message = f"{where}, and came back; a single spike is no reason to act"
        return Finding(
            "spike",
            self._metric,
            step,
            {
                "severity": severity,
                "height": height,
                "from": since,
                "lasted": lasted,
                "count": len(self._spikes),
                "recurring": recurring,
                "level": self._sign * self._centre,
            },
            message,
        )

    def _learn(self) -> None:
        """Bring centre, scale and tail up to date with a whole group."""
        group, self._group = self._group, []
        if self._scale > 0.0:
            if self._first is not None and self._seen - self._first[0] > LONGEST:  # it stays: a level of its own
                self.restart()
                return
            top = max(group)
            if self._first is None:
                self._tops.append(min((top - self._centre) / self._scale, LARGEST))
            bound = self._centre + HIGH * self._scale
            if top > bound:
                group = [value if value < bound else self._centre for value in group]
        self._ring = [*self._ring[-(RING - GROUP) :], *group]
        ordered = sorted(self._ring)
        quarter = len(ordered) // 4
        self._centre = ordered[2 * quarter]
        scale = (ordered[3 * quarter] - ordered[quarter]) / QUARTILES
        self._scales.append(scale)
        if len(self._scales) < MIN_GROUPS:
            return
        if self._seen // GROUP % TAIL_GROUPS == 0:
            self._scales, self._tops = self._scales[-GROUPS:], self._tops[-GROUPS:]
            self._usual, self._tail = sorted(self._scales)[len(self._scales) // 2], self._single_bound()
        scale = max(scale, self._usual)
        self._scale = scale if scale < LARGEST / HIGH else 0.0  # nothing lies that far off
        self._single = min(self._centre + self._scale * self._tail, LARGEST)

    def _single_bound(self) -> float:
        tops = sorted(self._tops)
        if len(tops) < MIN_GROUPS:
            return LARGEST
        middle, large = tops[len(tops) // 2], tops[len(tops) * 9 // 10]
        if not 0.0 < middle < large < LARGEST_RATIO * middle:
            return LARGEST
        return max(HIGH, middle * math.pow(large / middle, POWER))

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {name[1:]: getattr(self, name) for name in self._PLAIN}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        for name in self._PLAIN:
            value = state[name[1:]]
            setattr(self, name, list(value) if isinstance(value, list) else value)

    _PLAIN = (
        "_seen", "_spikes", "_said_at", "_said_recurring", "_group", "_ring", "_scales", "_tops", "_centre", "_scale",
        "_usual", "_tail", "_single", "_highs", "_first", "_peak",
    )  # fmt: skip
