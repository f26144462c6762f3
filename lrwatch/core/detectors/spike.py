"""Spike: for a few values the metric is far worse than before, and comes back.

What it accumulates: the newest RING values for a centre (median) and a scale (from the quartiles, no less than the usual one
of the last groups), the largest value of each of the last groups for the tail, the share of turning points among the
values, and the places of the spikes in the last WINDOW values. All of it is brought up to date once a group of GROUP
values, after the group was judged, so what is judged is judged by the past; nothing else is done for a single value.

A value is *high* when it lies more than HIGH scales above the centre. A spike is HIGH_VALUES high ones among NEAR
neighbours, or a single one beyond what the tail of the metric itself lets expect once in 1/RARE groups (a Frechet tail
through two quantiles of the group maxima: de Haan & Ferreira 2006, "Extreme Value Theory"), so that noise with heavy tails is
not taken for spikes. Where neighbours are alike, as a logger's smoothing makes them, several high values in a row are no more
than one, and the tail alone decides. The share of turning points shows it: two thirds for independent values of any
distribution (Bienayme 1874). A spike ends with BACK values in a row that are less than RECOVERED scales above the centre; it
is reported then. What stays away for more than LONGEST values is a level shift, an epoch's sawtooth or divergence, and is left
to those.

An isolated spike is no reason to act: PaLM's did not come back when the same batches were seen again from an earlier
checkpoint (Chowdhery et al. 2022, section 5.1). So one is reported, and the next ones not before they are RECURRING in WINDOW
values (OLMo counts spikes in much the same way: OLMo 2, 2025, section 3), or after WINDOW values without any. Severity is
the height in scales.

False findings at these settings: 4 in 5,400 runs of 20,000 values, 200 for each of 27 kinds of noise at two sizes on five curves
that fall or rest. None with white, autocorrelated, smoothed, log-normal (deviation to 0.8) and random-walk noise, volatility in
clusters, variance that falls or rises, sawtooths of 7 to 3000 values and batches in a fixed order; one in 200 with Student t of
3 degrees of freedom, three with t of 2.2. Where t noise of 3 degrees has gone through a logger's smoothing of 0.9, 8 % of the
runs: a large shock is two dozen values wide there. Found, in 20 of 20 runs: five values 15 standard deviations high in white,
t3 and log-normal noise; two in three at 20 in an autoregression of 0.9. A single value is hardly ever a spike: in white noise
one of 40 deviations is in nine of ten runs, in t3 noise none.
"""

from __future__ import annotations

import math

from lrwatch.core.detectors.base import LARGEST, NO_SILENCE, Detector, Silence
from lrwatch.core.events import Finding

# Values a group, and values that centre and scale are taken from.
GROUP = 16
RING = 64

# Groups that the tail and the usual scale are taken from.
GROUPS = 64

# Fewer groups know too little of the tail. It is looked at once in TAIL_GROUPS, which costs as much as the rest of a group.
MIN_GROUPS = 8
TAIL_GROUPS = 8

# With fewer maxima there is no estimate of the tail, and a single value is no spike.
MIN_TOPS = 32

# The quartiles of Gaussian noise lie this many standard deviations apart.
QUARTILES = 1.349

# In scales above the centre. Skewed noise (log-normal of deviation 0.8) is there three times in a thousand values.
HIGH = 10.0

# This many high values among this many neighbours are no chance: 3e-7 even there.
HIGH_VALUES = 3
NEAR = 5

# Share of turning points below which neighbours are alike. Independent values have 0.667, an autoregression 0.61 with a
# coefficient of 0.3 and 0.52 with 0.9. The newest ring weighs NEWS: the share is that of some 450 values, and accurate to 0.02.
TURNING = 0.6
NEWS = 0.25

# Probability of a group with a value beyond the bound for single values: with Gaussian noise that lies at some 25 scales.
RARE = 1e-6

# A Frechet maximum lies below x with exp(-(x/s)^(-1/index)); -log of that is 0.693 at the median, 0.105 at the quantile 0.9
# and RARE at the bound. So the bound lies above the median by this power of the ratio of those two.
MIDDLE, LARGE = -math.log(0.5), -math.log(0.9)
POWER = math.log(MIDDLE / RARE) / math.log(MIDDLE / LARGE)

# The least that the median and the ratio are taken for, about what Gaussian noise has: a curve that falls fast makes the scale
# large against the noise.
LEAST_TOP = 1.5
LEAST_RATIO = 1.45

# A ratio beyond this is noise without any scale, where no single value is a spike.
LARGEST_RATIO = 100.0

# This many values in a row below this many scales end a spike. Half of what makes a value high: a metric that jumps by little
# more than that and stays has not come back when its noise dips.
BACK = 3
RECOVERED = HIGH / 2

# A spike that lasts longer is none. An epoch's ramp that is steep enough to jump by HIGH takes 190 values to come back.
LONGEST = 128

# How far values may fall below those of the ring, in scales, for its silence to last.
FALLS = 2.5

# Spikes in the last WINDOW values that are recurring.
WINDOW = 10_000
RECURRING = 5


class SpikeDetector(Detector[float]):
    """Watches one metric of one run. A finding is made at the last sample of its group.

    >>> import numpy as np
    >>> loss = 2 + 0.1 * np.random.default_rng(0).standard_normal(2000)
    >>> loss[1000:1010] += 3
    >>> found = SpikeDetector("loss").feed(list(range(2000)), loss.tolist())
    >>> [(index, round(finding.evidence["severity"])) for index, finding in found]
    [(1023, 31)]
    """

    KIND = "spike"
    MAX_STATE_BYTES = 6000
    SAVED = (
        "_count", "_spikes", "_reported", "_reported_recurring", "_group", "_steps", "_ring", "_scales", "_tops", "_turning",
        "_centre", "_scale", "_usual", "_tail", "_single", "_highs", "_since", "_in_spike", "_away", "_peak",
    )  # fmt: skip

    def restart(self) -> None:
        """See `Detector.restart`."""
        self._count = 0  # values of whole groups
        self._spikes: list[int] = []
        self._reported_recurring = False
        self._reported = False
        self._group: list[float] = []
        self._steps: list[int] = []
        self._forget()

    def _forget(self) -> None:
        """Learn level, scale and tail from here on; spikes are remembered."""
        self._ring: list[float] = []
        self._scales: list[float] = []
        self._tops: list[float] = []
        self._turning: float | None = None
        self._centre = self._scale = self._usual = 0.0
        self._single = self._tail = LARGEST
        self._highs: list[int] = []
        self._since = 0  # the step of the first of them
        self._in_spike = False
        self._away = 0
        self._peak = 0.0

    def feed(self, steps: list[int], values: list[float]) -> list[tuple[int, Finding]]:
        """See `Detector.feed`."""
        waiting, places = self._group, self._steps
        waiting += values
        places += steps
        if len(waiting) < GROUP:
            return []
        found: list[tuple[int, Finding]] = []
        before = len(waiting) - len(values)
        whole = len(waiting) // GROUP * GROUP
        for at in range(0, whole, GROUP):
            end = at + GROUP
            found.extend((end - before - 1, finding) for finding in self._take_group(places[at:end], waiting[at:end]))
        del waiting[:whole], places[:whole]
        return found

    @property
    def silence(self) -> Silence:
        """See `Detector.silence`.

        Until the usual scale is learned again, a high value lies HIGH of it above the centre, and so above the lowest value that the
        ring has or will have.
        """
        if self._scale <= 0.0 or self._usual <= 0.0 or self._highs or self._turning is None:
            return NO_SILENCE
        groups = TAIL_GROUPS - self._count // GROUP % TAIL_GROUPS + 1
        low = min(self._ring) - FALLS * self._usual
        high = min(low + HIGH * self._usual, LARGEST)
        samples = groups * GROUP - len(self._group) - 1
        silence = Silence(samples, low, high) if self._sign > 0 else Silence(samples, -high, -low)
        return silence if silence.covers(self._group) else NO_SILENCE

    def _take_group(self, steps: list[int], group: list[float]) -> list[Finding]:
        if self._sign < 0:
            group = [-value for value in group]
        found: list[Finding] = []
        ordered = sorted(group)
        top = ordered[-1]
        if self._scale > 0.0 and (self._highs or top > self._centre + HIGH * self._scale):
            found = self._search(steps, group)
        self._count += GROUP
        if self._highs and self._count - self._highs[0] > LONGEST:  # it stays: a level of its own
            self._forget()
        elif not self._in_spike:
            self._learn(group, ordered)
        return found

    def _search(self, steps: list[int], group: list[float]) -> list[Finding]:
        high, recovered = self._centre + HIGH * self._scale, self._centre + RECOVERED * self._scale
        independent = self._turning is not None and self._turning >= TURNING
        found: list[Finding] = []
        for place, (value, step) in enumerate(zip(group, steps, strict=True), self._count):
            if self._in_spike:
                if value > recovered:
                    self._away, self._peak = place, max(self._peak, value)
                elif place - self._away >= BACK:
                    found.extend(self._spike(step, place))
                    self._highs, self._in_spike = [], False
            elif value > high:
                if not self._highs:
                    self._since, self._peak = step, value
                self._highs.append(place)
                self._peak = max(self._peak, value)
                many = independent and len(self._highs) >= HIGH_VALUES and place - self._highs[-HIGH_VALUES] < NEAR
                if many or value > self._single:
                    self._in_spike, self._away = True, place
            elif self._highs and place - self._highs[-1] >= NEAR:
                self._highs = []
        return found

    def _spike(self, step: int, place: int) -> list[Finding]:
        first = self._highs[0]
        lasted = self._away - first + 1
        if lasted > LONGEST:
            return []
        self._spikes = [*(old for old in self._spikes if place - old < WINDOW), first][-RECURRING:]
        recurring = len(self._spikes) == RECURRING
        if len(self._spikes) == 1:
            self._reported = self._reported_recurring = False
        if self._reported_recurring if recurring else self._reported:
            return []
        self._reported, self._reported_recurring = True, recurring or self._reported_recurring
        height = min(self._peak - self._centre, LARGEST)
        severity = min(height / self._scale, LARGEST)
        values = "1 value" if lasted == 1 else f"{lasted} values"
        where = f"{self._name} was {height:.3g} worse than its level at step {self._since:,} ({severity:.0f} times its noise) for {values}"
        if recurring:
            message = f"{where}; this is spike number {RECURRING} within {place - self._spikes[0]:,} values: the training is unstable"
        else:
            message = f"{where}, and came back; a single spike needs no action"
        evidence = {
            "severity": severity,
            "height": height,
            "from": self._since,
            "lasted": lasted,
            "count": len(self._spikes),
            "recurring": recurring,
            "per_10000": 10_000 * len(self._spikes) / min(place + 1, WINDOW),
            "level": self._sign * self._centre,
        }
        return [self._finding(step, evidence, message)]

    def _learn(self, group: list[float], ordered: list[float]) -> None:
        """Bring centre, scale and tail up to date with a whole group."""
        if self._scale > 0.0:
            # Around the median of the group itself: that of the ring lags behind a curve that falls.
            self._tops.append(min((ordered[-1] - ordered[GROUP // 2]) / self._scale, LARGEST))
            bound = self._centre + HIGH * self._scale
            if ordered[-1] > bound:
                group = [value if value < bound else self._centre for value in group]
        ring = self._ring
        ring += group
        if len(ring) > RING:
            del ring[:GROUP]
        ordered = sorted(ring)
        quarter = len(ordered) // 4
        self._centre = ordered[2 * quarter]
        scale = min((ordered[3 * quarter] - ordered[quarter]) / QUARTILES, LARGEST)
        scales = self._scales
        scales.append(scale)
        if len(scales) < MIN_GROUPS:
            return
        if self._turning is None or self._count // GROUP % TAIL_GROUPS == 0:
            del scales[:-GROUPS], self._tops[:-GROUPS]
            self._usual, self._tail = sorted(scales)[len(scales) // 2], self._single_bound()
            turning = _turning(ring)
            self._turning = turning if self._turning is None else self._turning + NEWS * (turning - self._turning)
        scale = max(scale, self._usual)
        self._scale = scale if scale < LARGEST / HIGH else 0.0  # nothing lies that far off
        self._single = min(self._centre + self._scale * self._tail, LARGEST)

    def _single_bound(self) -> float:
        tops = sorted(self._tops)
        if len(tops) < MIN_TOPS:
            return LARGEST
        middle = max(LEAST_TOP, tops[len(tops) // 2])
        ratio = max(LEAST_RATIO, tops[len(tops) * 9 // 10] / middle)
        return max(HIGH, middle * math.pow(ratio, POWER)) if ratio < LARGEST_RATIO else LARGEST


def _turning(values: list[float]) -> float:
    """Return the share of values that are larger or smaller than both neighbours."""
    turns = [(a < b) != (b < c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return turns.count(True) / len(turns)
