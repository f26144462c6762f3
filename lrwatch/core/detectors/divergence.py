"""Divergence: the metric has left the level that it had reached, and stays away.

What it accumulates: the medians of groups of GROUP values, the first, the best, the noise at the best (no less than one digit
of a log that rounds), and the newest WANDERED. A group is *away* when its median is worse than the best by more than LOST of everything that the run had
gained, by more than NOISES standard deviations of the noise within a group, and by more than WANDERS of the noise from
group to group. After PATIENCE groups away without a break the finding is made; it is made again only after the metric
came back.

A run of a few hundred values cannot wait for that. Its first FEW values are looked at in groups of FINE as well: there the metric
has diverged when it had gained more than its noise, and the newest groups, PATIENCE_SHARE of the run and FINE_PATIENCE at
the least, all are away from the best one before them. The noise is how groups a few places apart deviate from a line. What the
learning rate does in between changes nothing.

Scale-free, and blind on purpose to what is not divergence: single spikes (a median of 16 does not see them), the slow
rise of a training loss after a learning-rate cut (a few per cent of what was gained), a curriculum that gets harder, and
noise. By simulation of 20 runs a cell of 8000 values (falling, flat, a cut, a slow rise by 12 % of the gain, a step or a
bump of 20 %; noise of 1, 10 and 30 % of the gain), none is called divergent under white, sawtooth and AR(0.9) noise, about
1 % under a logger's smoothing of 0.98, 5 % under AR(0.99), which in 8000 values is hardly distinguishable from a rise. A loss that
gives back 60 % of its gain in 800 values is found after about 390 values with noise of 1 % of the gain, 1000 with 10 %,
2000 to 3400 with 30 %. A slow rise that is small against the noise is not found at all: what is less than a quarter of the
gain is what healthy runs do, too. The small groups find none in 1,440 runs of 300 values
(falling, flat, a bump, a slow rise; noise of 0.3 to 17 % of the level: white, t3, log-normal, spikes, AR(0.9), AR(0.98)). A loss
that leaves for half of its gain after 40 to 80 values is found 9 to 19 values later in the median, after 200 values 51 later; under
AR(0.9) of a twentieth of the gain or more it may be left to the large groups. Runs that start at their best level (fine-tuning) are judged by the noise alone.
"""

from __future__ import annotations

import math
from itertools import pairwise

from lrwatch.core.detectors.base import NO_SILENCE, Detector, Silence
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


# First values of a run that are looked at in small groups, and values of such a group: as many as it takes for the large ones to
# have patience.
FEW = 256
FINE = 4

# Groups at the least, and share of the run, that must be away, and groups before them that show the noise.
FINE_PATIENCE = 3
PATIENCE_SHARE = 0.2
FINE_BEFORE = 9

# It leaves within a few groups: what crept away by more than CREPT of that before, such as validation that overfits, is left to
# the large groups. And it stays away: it keeps STAYS of its distance while it is looked at.
CREPT = 0.25
STAYS = 0.8

# In standard deviations of the median of a small group.
FINE_NOISES = 8.0

# Groups between those whose deviation from a line shows that.
FINE_STRIDES = (1, 2, 4)
FINE_TRIPLES = 5


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
    SAVED = (
        "_group", "_first", "_best", "_noise", "_medians", "_digit", "_away", "_reported", "_few", "_fine", "_fine_away",
    )  # fmt: skip

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
        # Values so far, up to FEW; medians of their small groups; where they showed it, the level that is back again.
        self._few = 0
        self._fine: list[float] = []
        self._fine_away: float | None = None

    def feed(self, steps: list[int], values: list[float]) -> list[tuple[int, Finding]]:
        """See `Detector.feed`."""
        found: list[tuple[int, Finding]] = []
        at = 0
        while at < len(values):
            group = FINE if self._few < FEW else GROUP
            take = min(group - len(self._group) % group, len(values) - at)
            self._group.extend(values[at : at + take])
            at += take
            if self._few < FEW and len(self._group) % FINE == 0:
                finding = self._judge_few(steps[at - 1])
                if finding is not None:
                    found.append((at - 1, finding))
            if len(self._group) == GROUP:
                finding = self._judge(steps[at - 1])
                self._group = []
                if finding is not None:
                    found.append((at - 1, finding))
        return found

    @property
    def silence(self) -> Silence:
        """See `Detector.silence`: patience lasts some groups."""
        if self._few < FEW:
            return NO_SILENCE
        groups = 1 if self._reported else max(PATIENCE - self._away, 1)
        return Silence(groups * GROUP - len(self._group) - 1)

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
            if self._few >= FEW:
                self._fine_away = None
            return None
        self._away += 1
        if self._away < PATIENCE or self._reported:
            return None
        self._reported = True
        if self._fine_away is not None:
            return None
        return self._report(step, self._best, median, self._first, self._noise, allowed)

    def _judge_few(self, step: int) -> Finding | None:
        """Judge the newest small group of the first values."""
        self._few += FINE
        fine = self._fine
        fine.append(sorted(self._sign * value for value in self._group[-FINE:])[FINE // 2])
        if self._few == FEW:
            self._fine = []  # the large groups have come
        newest = max(FINE_PATIENCE, math.ceil(PATIENCE_SHARE * len(fine)))
        before, away = fine[:-newest], fine[-newest:]
        if self._fine_away is not None and fine[-1] <= self._fine_away:
            self._fine_away = None
        if self._fine_away is not None or len(before) < FINE_BEFORE:
            return None
        best, now = min(before), _median(away)
        first = _median(fine[: GROUP // FINE])
        recent = before[-max(FINE_BEFORE, len(before) // 2) :]  # a fall at the beginning is bent, and that is no noise
        noise = max(_off_line(recent, stride) for stride in FINE_STRIDES if len(recent) - 2 * stride >= FINE_TRIPLES)
        allowed = max(LOST * (first - best), FINE_NOISES * noise)
        if min(away) - best <= allowed or first - best <= FINE_NOISES * noise:
            return None
        crept = _median(before[-FINE_PATIENCE:]) - best > CREPT * (now - best)
        comes_back = _median(away[len(away) // 2 :]) - best < STAYS * (_median(away[: (len(away) + 1) // 2]) - best)
        if crept or comes_back:
            return None
        self._fine_away = best + allowed
        return self._report(step, best, now, first, noise, allowed)

    def _report(self, step: int, best: float, now: float, start: float, noise: float, allowed: float) -> Finding:
        best, now = self._sign * best, self._sign * now
        return self._finding(
            step,
            {"best": best, "now": now, "start": self._sign * start, "noise": noise, "allowed": allowed},
            f"{self._name} is at {now:.4g} and stays there; its best level was {best:.4g}, with noise of {noise:.2g}",
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


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _off_line(medians: list[float], stride: int) -> float:
    """Return the standard deviation of a median, robust: of three `stride` apart, how far the middle one is off the line."""
    triples = zip(medians, medians[stride:], medians[2 * stride :], strict=False)
    off = sorted([abs(left / 4 + right / 4 - middle / 2) for left, middle, right in triples])
    return 4 / 6**0.5 * MAD_TO_SD * off[len(off) // 2] if off else 0.0
