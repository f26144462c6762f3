"""Plateau: the mean improves by less than is worth waiting for.

What it accumulates: block means of the winsorised values since the phase began. At each look the slope over windows of
1 to 5 horizons is fitted, with a standard error that holds under autocorrelated noise (`stats.slope`). The null
hypothesis is "the metric still improves by at least `min_improvement` per horizon"; a plateau is reported when, in
some window, the *upper* confidence bound of the improvement per horizon lies below that. Noise may delay a report, it
does not cause one. A convex curve is safe: its slope over a past window is steeper than its slope now.

Where the noise hides that in five horizons, windows grow with the age of the phase, up to all of it. A line over a window has
an error that falls with its length to the power of 1.5, so a long flat stretch is found in the end, however noisy. A longer
window holds older values. It can therefore only report a plateau, and does not where a shorter window shows an improvement worth
having at the same look.

There are two upper bounds of an improvement u with the margin m of its slope, and the lower of them counts, each at its
share of the error budget. The first is u + m. It detects every rate below the required one, sooner or later. The
second is u + sqrt(u^2 + m^2), the bound of Wald's sequential probability ratio test against a metric that does not
improve at all: where nothing improves it is as low as the first one, and at a rate near the required one it errs
far less often, so it may have a smaller margin (Wald 1945, Ann. Math. Statist. 16).

The error budget `false_alarms` is for the whole life of a run. It is spent over its horizons, looks and windows, so it holds
however often the detector looks, also where the mean improves by exactly `min_improvement`, the hardest case: measured there
over ten horizons, 0.7 % of 2,000 runs had a report, as many as are allowed by then; 2.4 % of those smoothed with 0.98, 1.2 % at
the most under seven other kinds of noise. It does not hold where noise is correlated over a twentieth of a horizon or more. The
price: a report comes, in the median, 1.1 horizons after the truth where the noise is small against an improvement worth
having, later where it is not.

Where the same data come again, epoch by epoch, a loss may rest or rise within an epoch and fall where the next one begins. So a horizon
that is a fraction of the run lasts two epochs at the least, once one is over and their length is known.

A horizon that is a fraction of the run has too few values in the first hundred. They have a test of their own: the line through
20 to 50 values, with the scatter around it as its error, where the metric has improved significantly before (`core.progress`) and
differences of neighbours show that the noise is white. The required improvement per value is the same, or the noise of one value
if that is more, up to FEW_ASK times. In the median, the end of a linear fall over 25 values is reported after 55 to 59 values,
with noise of 0.3 to 3 % of the level; that of a fall by exp(-t/8) after 72 to 83, because it lasts longer. In 100 values of a power law with exponents of
0.1 to 0.5, an exponential or a line, with noise of 0.3, 2 and 10 %, it errs in 1 of 1,080 runs with independent noise, in 6 of
360 under AR(0.9); a power law with an exponent of 0.07, which is hardly better than required, is reported as flat in a third of the runs
where the noise is 2 %. Of 429 curves of real logs 35 are reported as flat in their first hundred values, and 9 of those improved by
more than required until they were half as old again.

One file because half of it is this page, the reasons of the constants and the meaning of a trend, and the rest is one
algorithm whose parts share the windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import numpy as np

from lrwatch.core.detectors.base import DEFAULTS, Output, Silence, TrendDetector
from lrwatch.core.events import Finding, Phase
from lrwatch.core.options import DetectOptions, Horizon
from lrwatch.core.progress import ProgressCheck
from lrwatch.core.sample import Floats
from lrwatch.core.standing import asked_in_words, in_words
from lrwatch.core.stats.blocks import BITE, CAPACITY, Blocks, Winsor
from lrwatch.core.stats.shift import LevelShift
from lrwatch.core.stats.slope import MIN_BLOCKS, Outline, Slope, fit_quietly
from lrwatch.core.stats.student import t_quantile
from lrwatch.core.words import moves

# Windows in horizons. The short ones answer fast where noise is small, the long ones at all where it is large.
WINDOWS = (1.0, 1.5, 2.25, 3.4, 5.0)

# Blocks that are kept of a phase with a fixed horizon: all that fit, less what one look adds. That is 10 to 20 horizons.
KEPT_BLOCKS = CAPACITY - 2 * BITE

# Values of a phase before its windows grow, where the horizon is a fraction of the run. A tenth of a young run is so short that a
# curve that falls along a line is flat by it, truly and to no purpose.
LONGER_VALUES = 2000

# A window that grows is longer by this factor than the one before; one that is hardly longer says nothing new. Where a phase begins
# with a fall, windows that hold it still improve, so there must be some that just do not.
LONGER = 1.2

# Looks per horizon: more would answer hardly sooner (a slope over a horizon moves slowly) and cost more.
LOOKS = 16

# Looks per horizon while no window is near a plateau, because each has room for FAR times the required improvement. The looks of healthy
# runs are most of what a detector costs. On 880 curves of known truth, false reports, median and 90th percentile of the delay are the same.
FAR, FAR_LOOKS = 2.0, 4

# Effective number of independent tests per horizon (multiple-comparison correction). By simulation, at exactly the
# required rate, over eight kinds of noise: the slope of a window that slides is as rough as a random walk,
# since values enter and leave it with the largest weights, so this is more than one or two.
INDEPENDENT_LOOKS = 8

# Share of the budget of the first bound; the second has the rest.
PLAIN_SHARE = 0.15

# The first horizons of a run share the first part of the budget evenly, each later group of as many a part of the rest. A
# horizon of a tenth of the run passes seven times while the age of the run doubles.
EQUAL_HORIZONS = 10
FIRST_PART = 0.7

# For a decision that can be taken back, a bound that holds at one look is enough, if the window has blocks enough for its
# noise to be known. Both numbers come from closed loop on noisy quadratic problems: at 1 % or at 20 blocks cuts come
# too early, at 0.1 % too late.
ONE_LOOK_ALPHA = 0.005
ONE_LOOK_BLOCKS = 64

# What lies between an estimate and that bound, times this, is half a two-sided interval of 95 %: the ratio of the quantiles is
# 0.71 with the twelve degrees of freedom of the noise at low frequencies, 0.76 with many. A policy may go by that, too.
MARGIN_SHARE = 0.7

# Values of a horizon at the least, where it is a fraction of the run: over fewer, "a tenth of the run" is no time to improve
# in. A run has as many after a hundred values; until then the horizon is as many. With 5, six of 122 real runs were called
# flat at once, with 10 three.
MIN_HORIZON_SAMPLES = 10

# Until then an improvement per horizon that is smaller than the noise of one value is none, as long as it is less than this many
# times the required one: from so few values nobody can tell more.
FEW_ASK = 3.0

# Values that show, before a plateau of so few is believed, whether noise wanders: the correlation of differences of neighbours
# must not be above WHITE. White noise has -0.5, noise that wanders over ten values next to none.
FEW_RECENT = 30
WHITE = -0.3

# An estimate that is next to what is asked may stay there: no more than this many times its error is said to be lacking.
NEAR = 2.0

# Ages of the run that are looked ahead, at the most, to when it can tell.
FAR_AGES = 1e6

# Blocks of a horizon: between half of this and this.
BLOCKS_PER_HORIZON = 128


TrendState = Literal["improving", "plateau", "undecided"]
"""What one look says. What people read is `core.standing`."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Where the curve stands at one look. Improvements are per horizon, in units of the metric, positive is better.

    Attributes:
        step: The step of the look.
        state: improving, plateau or undecided, at the detector's own `min_improvement`.
        horizon: The horizon in steps.
        level: Size of the metric that relative improvements refer to.
        improvement, lower, upper: Estimate and confidence bounds, valid at all looks together.
        improvement_now, upper_now: Estimate and upper bound in the window that bounds it best at this one look; the bound is
            valid at this look only, and never above `upper`.
        end, end_error: Height of the fitted line now, and its standard error.
        per_step: Slope of the fitted line, in units of the metric a step (its own sign, not "better").
        per_step_error: Standard error of `per_step`.
        samples: Samples of the phase so far.
        detectable: The smallest `min_improvement` (in units of the metric) by which a metric that does not improve at all
            could be told from one that does, by now. Windows that still see an improvement do not count.
        span: Steps of the window that the line was fitted to; 0 where there is none.
        few: There are too few values to believe the bounds: see the module.
        few_asked: The improvement whose absence is a plateau where there are too few values to tell a smaller one; else 0.
    """

    step: int
    state: TrendState
    horizon: float
    level: float
    improvement: float
    lower: float
    upper: float
    improvement_now: float
    upper_now: float
    end: float
    end_error: float
    per_step: float
    per_step_error: float
    samples: int
    detectable: float = math.inf
    span: float = 0.0
    few_asked: float = 0.0
    few: bool = False

    @property
    def margin_now(self) -> float:
        """Half the width of the 95 % interval of `improvement_now` at this one look, or more."""
        return MARGIN_SHARE * (self.upper_now - self.improvement_now)

    @property
    def gets_worse(self) -> bool:
        """Whether it gets significantly worse."""
        return self.upper < 0

    def ratio(self, amount: float) -> float:
        """`amount` relative to the level of the metric."""
        return amount / self.level if self.level > 0 else math.copysign(math.inf, amount) if amount else 0.0


class _Look(NamedTuple):
    """The state of the windows at a look, from which the trend can be computed later.

    Attributes:
        step, samples: Step, and samples of the phase.
        horizons: Horizons that the phase has lasted.
        per_horizon: Blocks of a horizon. horizon: In steps.
        blocks: How many blocks there were.
        may_grow: Whether windows grow with the phase.
        share: Values of the required horizon, where they are too few for one; 0 where they are not.
        improved: Whether the metric had improved significantly before.
    """

    step: int
    samples: int
    horizons: float
    per_horizon: float
    horizon: float
    blocks: int
    may_grow: bool
    share: float = 0.0
    improved: bool = False

    def windows(self) -> list[int]:
        """Return the blocks of each of WINDOWS that the phase is long enough for."""
        wanted = [max(MIN_BLOCKS, round(window * self.per_horizon)) for window in WINDOWS]
        return [n for n in wanted if n <= self.blocks]

    def longer_windows(self) -> list[int]:
        """Return the blocks of the windows that grow with the phase, the shortest first."""
        longest = max(MIN_BLOCKS, round(WINDOWS[-1] * self.per_horizon))
        found = []
        n = self.blocks if self.may_grow else 0
        while n > LONGER * longest:
            found.append(n)
            n = int(n / LONGER)
        return found[::-1]


class _Bounds(NamedTuple):
    """What an outline says of the improvement per horizon over a window.

    Attributes:
        upper: The upper bound that is valid at all looks is no lower.
        now: Nor is the end of the interval of 95 % at this one look.
        lower: The lower bound is no higher.
    """

    upper: float
    now: float
    lower: float


class _Fit(NamedTuple):
    """The line over one window, and what it says of the improvement per horizon.

    Attributes:
        upper: Upper bound, valid at all looks. improvement: Estimate.
        plain, flat: The margins of the two bounds: see the module.
        now: Upper bound that is valid at this one look; infinite where there are too few blocks.
        slope: The line. blocks: Of the window.
    """

    upper: float
    improvement: float
    plain: float
    flat: float
    now: float
    slope: Slope
    blocks: int

    def surely_improves_by(self, asked: float) -> bool:
        """Whether at this one look the improvement is above `asked`, at 95 %."""
        return self.improvement - MARGIN_SHARE * (self.now - self.improvement) > asked


def _margin_now(slope: Slope) -> float:
    """How far the upper bound that is valid at this one look lies above the slope."""
    return t_quantile(ONE_LOOK_ALPHA, slope.df) * slope.error


def _upper(improvement: float, plain: float, flat: float) -> float:
    """Return the upper bound of an improvement, given the margins of the two bounds; see the module."""
    return improvement + min(plain, math.hypot(improvement, flat))


@lru_cache(maxsize=4096)
def _bite(stride: float) -> int:
    """Return how many values are taken at once where a look comes each `stride` values: those up to the next look, or BITE.

    >>> [_bite(stride) for stride in (1.0, 1.5, 3.7, 4.0, 17.0, 40.0)]
    [1, 2, 6, 4, 17, 32]
    """
    whole = int(stride)
    between = whole if whole == stride else 2 * whole
    return between if between <= BITE else min(whole, BITE)


def _alpha(false_alarms: float, group: int) -> float:
    """Return the share of the error budget for one independent look in the `group`-th EQUAL_HORIZONS horizons of a run.

    The first group has FIRST_PART of the budget, the g-th after it 1/(g(g+1)) of the rest, so all of them have all of it.
    Phases do not count: they only empty the windows.
    """
    part = FIRST_PART if group == 0 else (1 - FIRST_PART) / (group * (group + 1))
    return false_alarms * part / EQUAL_HORIZONS / INDEPENDENT_LOOKS


def _is_white(values: Floats) -> bool:
    """Whether differences of neighbours say that the noise of `values` does not wander: theirs is -0.5 where it is white."""
    steps = np.diff(values)
    steps = steps - np.median(steps)
    size = float(np.abs(steps).max())
    if size == 0:
        return True
    steps = steps / size
    return float(steps[1:].dot(steps[:-1])) <= WHITE * float(steps.dot(steps))


def _line(values: Floats) -> tuple[float, float, float, float]:
    """Return the slope from value to value, its standard error, the noise of one value, and the level at the end."""
    n = len(values)
    at = np.arange(n) - (n - 1) / 2
    size = float(np.abs(values).max()) or 1.0
    scaled = values / size
    mean, spread = float(scaled.mean()), n * (n * n - 1) / 12
    slope = float(at.dot(scaled)) / spread
    off = scaled - mean - slope * at
    noise = math.sqrt(float(off.dot(off)) / (n - 2))
    return slope * size, noise / math.sqrt(spread) * size, noise * size, (mean + slope * at[-1]) * size


class PlateauDetector(TrendDetector):
    """Watches one metric of one run.

    >>> rng = np.random.default_rng(0)
    >>> steps = np.arange(20_000)
    >>> loss = 2 + np.maximum(0, 8_000 - steps) / 2_000 + 0.5 * rng.standard_normal(20_000)
    >>> detector = PlateauDetector("loss", DetectOptions(horizon=2000, min_improvement=0.2, relative=False))
    >>> outputs = detector.feed(steps.tolist(), loss.tolist())
    >>> [output.step for index, output in outputs if isinstance(output, Finding)]
    [10624]
    """

    KIND = "plateau"
    SCOPE = "phase"
    SHIFT_INVARIANT = False
    MAX_STATE_BYTES = 64 << 10
    SAVED = (
        "_run_first", "_counted_to", "_bite", "_bite_size", "_first", "_last", "_samples", "_unlooked", "_horizons", "_plateau_since", "_is_far",
        "_shift", "_winsor", "_blocks", "_progress", "epoch_steps",
    )  # fmt: skip

    def __init__(self, metric: str = "", options: DetectOptions = DEFAULTS, train_metric: str = "") -> None:
        super().__init__(metric, options, train_metric)
        self._horizon = Horizon.parse(options.horizon)
        self.epoch_steps = 0
        # The age of the run and the budget continue over phases.
        self._run_first: int | None = None
        self._counted_to: int | None = None
        self._horizons = 0.0
        self._progress = ProgressCheck(options)

    def restart(self) -> None:
        """See `Detector.restart`."""
        self._shift = LevelShift(self._sign)
        self._winsor = Winsor()
        self._blocks = Blocks()
        self._bite: list[float] = []
        self._bite_size = 1
        self._first: int | None = None
        self._last = 0
        self._samples = 0
        self._unlooked = 0
        self._plateau_since: int | None = None
        self._is_far = False
        self._trend: Trend | None = None
        self._unfinished: _Look | None = None

    def rewound(self) -> None:
        """See `TrendDetector.rewound`."""
        self._counted_to = None

    @property
    def trend(self) -> Trend | None:
        """See `TrendDetector.trend`."""
        self._finish()
        return self._trend

    def _finish(self) -> None:
        if self._unfinished is not None:
            self._trend = self._test(self._unfinished)
            self._unfinished = None

    @property
    def last_trend(self) -> Trend | None:
        """See `TrendDetector.last_trend`."""
        return self._trend

    @property
    def samples(self) -> int:
        """See `TrendDetector.samples`."""
        return self._samples + len(self._bite)

    @property
    def plateau_since(self) -> int | None:
        """See `TrendDetector.plateau_since`."""
        return self._plateau_since

    @property
    def tells_at(self) -> int | None:
        """See `TrendDetector.tells_at`."""
        trend, fixed = self._trend, self._horizon.fixed
        if trend is None:
            if self._first is None or self.samples < 2:
                return None
            first_look = (MIN_BLOCKS - 1) * (self._last - self._first) / (self.samples - 1)
            return max(self._first + math.ceil(max(first_look, self._horizon_over(self._first))), self._last)
        if trend.state != "undecided":
            return None
        asked = self._asked(trend.level)
        if asked <= 0 or not math.isfinite(trend.detectable):
            return None
        # What is lacking: by how much the noise is too large, or the estimate too near to what is asked. The error of an improvement
        # per horizon falls with the root of the age, where the horizon grows with the run, and with the window to the power of 1.5,
        # where it is fixed.
        apart = abs(trend.improvement - asked) or math.ulp(asked)
        lacks = trend.detectable / asked
        if lacks <= 1:
            lacks = max(1.0, min(NEAR, (trend.improvement - trend.lower) / apart))
        assert self._run_first is not None
        if fixed is None:
            step = trend.step + math.ceil((trend.step - self._run_first) * min(lacks * lacks - 1, FAR_AGES))
            if not trend.few:
                return step
            gap = (self._last - (self._first or 0)) / max(self._samples - 1, 1)
            enough = self._run_first + math.ceil(gap * MIN_HORIZON_SAMPLES / self._horizon.fraction)
            return max(min(step, enough), trend.step)
        age = trend.step - (self._first or 0)
        longest = (
            KEPT_BLOCKS * self._blocks.width * age / max(trend.samples - 1, 1)
        )  # of the windows that there will be
        grows = min(age, longest) * (lacks ** (2 / 3) - 1)
        return None if age + grows > longest else trend.step + math.ceil(grows)

    def _horizon_over(self, first: int) -> float:
        """Return the steps behind `first`, where the phase began, after which it is a horizon old."""
        if self._horizon.fixed is not None:
            return self._horizon.fixed
        share = self._horizon.fraction  # of a run that gets older meanwhile
        age = first - (first if self._run_first is None else self._run_first)
        return max(share / (1 - share) * age, self._horizon.steps(age, self.epoch_steps))

    @property
    def silence(self) -> Silence:
        """See `Detector.silence`: it looks at the end of a bite, where there are values enough since the look before."""
        wait = float(self._bite_size)
        if self._horizon.fixed is None and self._first is not None and self._first < self._last:
            # What a horizon has at the least, whatever steps come, rounding aside.
            share = self._horizon.fraction * (self._samples - 1) / (FAR_LOOKS if self._is_far else LOOKS)
            wait = max(wait, (1 - 1e-9) * share - self._unlooked)
        return Silence(min(math.ceil(wait) - len(self._bite) - 1, self._shift.silent))

    def feed(self, steps: list[int], values: list[float]) -> list[tuple[int, Output]]:
        """Take finite samples. See `Detector.feed`.

        Returns:
            The trend of each look that could estimate one, and before it the finding that it is the evidence of. Where
            the level has shifted for the worse, a phase, from which on the windows begin again.
        """
        found: list[tuple[int, Output]] = []
        at = 0
        if known := self._progress.improved:
            self._progress.feed(steps, values)
        while at < len(values):
            at, output = self._take(steps, values, at, progress=not known)
            if output is None:
                continue
            if isinstance(output, Trend) and (finding := self._judge(output)) is not None:
                found.append((at - 1, finding))
            found.append((at - 1, output))
        return found

    def _take(
        self, steps: list[int], values: list[float], at: int, *, progress: bool
    ) -> tuple[int, Trend | Phase | None]:
        """Take the samples from index `at` up to the next look or level shift; `progress` says whether the progress is fed too.

        Returns:
            The index of the first sample that was not taken, and the output at the one before it, if any.
        """
        take = min(self._bite_size - len(self._bite), len(values) - at)
        end = at + take
        if shifted := self._shift.feed(values, at, end):
            before, after = self._shift.levels
            self.restart()
            return shifted, Phase(
                steps[shifted - 1],
                "level_shift",
                f"the level of {self._name} went from {before:.4g} to {after:.4g} at once and stays there",
            )
        if progress:
            self._progress.feed(steps[at:end], values[at:end])
        self._bite.extend(values[at:end])
        if self._first is None:
            self._first = steps[at]
            self._run_first = self._first if self._run_first is None else min(self._run_first, self._first)
        self._last = steps[end - 1]
        if len(self._bite) < self._bite_size:
            return end, None
        if self._unfinished is not None and len(self._blocks) + len(self._bite) >= CAPACITY:
            self._finish()  # the blocks that it is about may be merged
        self._blocks.extend(self._winsor.clip(self._bite))
        self._samples += len(self._bite)
        self._unlooked += len(self._bite)
        self._bite = []
        return end, self._look()

    def _judge(self, trend: Trend) -> Finding | None:
        """Return the plateau that `trend` is the first evidence of, or None. Reported again only after an improvement."""
        if trend.state == "improving":
            self._plateau_since = None
        if trend.state != "plateau" or self._plateau_since is not None:
            return None
        self._plateau_since = trend.step
        unit, required = partial(in_words, trend, self._options), f"{asked_in_words(self._options)} is required"
        if trend.few_asked:
            required += f" (of {trend.samples:,} values, less than {unit(trend.few_asked)} counts as none)"
        moved = moves(trend.improvement, unit(abs(trend.improvement)))
        if trend.gets_worse:
            moved = f"{'rises' if self._sign > 0 else 'falls'} by {unit(-trend.improvement)}"
            bound = f"surely by more than {unit(-trend.upper)}"
        elif trend.improvement >= 0:
            bound = f"surely by less than {unit(trend.upper)}"
        else:
            bound = f"and surely improves by less than {unit(trend.upper)}"
        return self._finding(
            trend.step,
            {
                "improvement": trend.improvement,
                "lower": trend.lower,
                "upper": trend.upper,
                "improvement_ratio": trend.ratio(trend.improvement),
                "upper_ratio": trend.ratio(trend.upper),
                "asked": self._options.min_improvement,
                "horizon_steps": trend.horizon,
                "level": trend.end,
                "samples": trend.samples,
            },
            f"{self._name} {moved} per {trend.horizon:,.0f} steps, {bound}; {required}",
        )

    # ---- one look -------------------------------------------------------------------------------------------------

    def _look(self) -> Trend | None:
        assert self._first is not None
        assert self._run_first is not None
        gap = (self._last - self._first) / (self._samples - 1) if self._samples > 1 else 1.0
        horizon = self._horizon.steps(self._last - self._run_first, self.epoch_steps)
        in_samples = horizon / gap if gap > 0 else 0.0
        self._bite_size = _bite(stride := self._stride(in_samples))
        if self._unlooked < stride:
            return None
        before_few = in_samples  # the settings' own, which few values lengthen
        few = self._horizon.fixed is None and 0 < in_samples < MIN_HORIZON_SAMPLES
        share = in_samples if few else 0.0
        if few:
            horizon, in_samples = gap * MIN_HORIZON_SAMPLES, float(MIN_HORIZON_SAMPLES)
        if in_samples < 1 or (few and self._samples < MIN_BLOCKS) or self._shift.pending:
            return None
        # By steps, so that samples which are read again, because a phase was known late, count once.
        since = self._last if self._counted_to is None else self._counted_to
        first = self._first if self._counted_to is None else since
        self._horizons += max(self._last - first, 0) / horizon
        self._counted_to = max(since, self._last)
        horizons = self._horizons - self._horizons_between(self._last, self._counted_to)
        self._unlooked = 0
        while in_samples / self._blocks.width >= BLOCKS_PER_HORIZON:
            self._blocks.merge()
        per_horizon = in_samples / self._blocks.width
        if (
            self._horizon.fixed is not None
        ):  # a fraction of the run grows into old blocks, of which there are never too many
            self._blocks.forget(KEPT_BLOCKS)
        may_grow = self._horizon.fixed is not None or self._samples >= LONGER_VALUES
        look = _Look(
            self._last, self._samples, horizons, per_horizon, horizon, len(self._blocks), may_grow, share,
            self._progress.improved,
        )  # fmt: skip
        with np.errstate(all="ignore"):
            lines = [Outline(self._blocks.last(n)) for n in (*look.windows(), *look.longer_windows())]
            self._is_far = self._all_far(look, lines)
            is_no_news = self.threshold is not None and self._is_no_news(look, lines, self.threshold)
        self._bite_size = _bite(self._stride(before_few))
        if is_no_news:
            self._unfinished = look
            return None
        self._unfinished = None
        self._trend = self._test(look)
        return self._trend

    def _horizons_between(self, step: int, later: int) -> float:
        """Return the horizons from `step` to a later step, which was looked at before `step` was read again; 0 if none was."""
        if later <= step or self._run_first is None:
            return 0.0
        age = later - self._run_first
        horizon = self._horizon.steps(age, self.epoch_steps)
        if self._horizon.fixed is not None or horizon > self._horizon.steps(age):
            return (later - step) / horizon
        return math.log((later - self._run_first) / max(step - self._run_first, 1)) / self._horizon.fraction

    def _stride(self, horizon: float) -> float:
        """Return the values between two looks, at a horizon of so many values."""
        return max(1.0, horizon / (FAR_LOOKS if self._is_far else LOOKS))

    def _all_far(self, look: _Look, lines: list[Outline]) -> bool:
        """Whether each window has room for FAR times the required improvement. Behind a plateau its end is looked for instead."""
        if not lines or look.share or self._plateau_since is not None:
            return False
        for line in reversed(lines):  # the longest window has the smallest error, so it is the first without room
            room = FAR * self._asked(abs(line.end))
            if not self._bounds(look, line, room).now > room:  # NaN is above nothing
                return False
        return True

    def _is_no_news(self, look: _Look, lines: list[Outline], threshold: float) -> bool:
        """Whether the look is guaranteed to lead to no finding, to no end of one, and to no interval below `threshold`.

        An upper bound lies above the estimate. So it is enough to know the estimates, and the bounds where those are too low.
        """
        if not lines:
            return False
        # Any window may give the level that the bound is relative to: the highest is the safe one.
        needed = threshold * max([abs(line.end) for line in lines]) if threshold > -math.inf else -math.inf
        ends = self._plateau_since is not None
        for line in lines:
            asked = self._asked(abs(line.end))
            bounds = self._bounds(look, line, math.inf if ends else max(asked, needed))
            # Behind a plateau, news is that the metric improves, and no longer that it does not.
            expected = bounds.lower < asked - line.rounding if ends else bounds.upper > asked
            if not (expected and bounds.now > needed):  # NaN is news
                return False
        return not look.share or self._flat(look) is None

    def _bounds(self, look: _Look, line: Outline, enough: float) -> _Bounds:
        """Return the bounds of the improvement over a window; the estimate alone where that is above `enough`."""
        per_block = look.per_horizon / line.blocks
        improvement = -self._sign * line.per_block * per_block
        low = improvement - line.rounding
        if low > enough:
            return _Bounds(low, low, low)
        alpha = self._alpha(look)
        plain = line.margin_at_least(PLAIN_SHARE * alpha) * per_block
        flat = line.margin_at_least((1 - PLAIN_SHARE) * alpha) * per_block
        upper = _upper(low, plain, flat)
        upper_now = min(upper, low + t_quantile(ONE_LOOK_ALPHA, line.df) * line.error_at_least() * per_block)
        return _Bounds(upper, low + MARGIN_SHARE * (upper_now - low), improvement - plain)

    def _asked(self, level: float) -> float:
        """Return the required improvement in units of the metric."""
        return self._options.min_improvement * (level if self._options.relative else 1.0)

    def _alpha(self, look: _Look) -> float:
        return _alpha(self._options.false_alarms, int(look.horizons / EQUAL_HORIZONS))

    def _flat(self, look: _Look) -> tuple[float, float, float] | None:
        """Return improvement, upper bound and what is asked where few values show a plateau, in some window without wandering noise."""
        alpha = self._alpha(look)
        recent = self._blocks.before(look.blocks, min(look.blocks, max(FEW_RECENT, look.blocks // 2)))
        if not look.improved or not _is_white(recent):
            return None
        for n in look.windows():
            values = self._blocks.before(look.blocks, n)
            slope, error, noise, level = _line(values)
            improvement = -self._sign * slope * look.per_horizon
            margin = t_quantile(alpha, n - 2) * error * look.per_horizon
            asked = self._asked(abs(level)) * MIN_HORIZON_SAMPLES / look.share  # as much a value
            asked = min(max(asked, noise), FEW_ASK * asked)
            if improvement + margin < asked:
                return improvement, improvement + margin, asked
        return None

    def _fit(self, look: _Look, n: int, alpha: float) -> _Fit | None:
        """Fit the line over the newest `n` blocks; None where that says nothing."""
        before = self._blocks.before(look.blocks - n, n) if 2 * n <= look.blocks else None
        slope = fit_quietly(self._blocks.before(look.blocks, n), before)
        if slope is None:
            return None
        per_block = look.per_horizon / slope.blocks  # blocks of the window in a horizon
        improvement = -self._sign * slope.per_block * per_block
        plain = slope.margin(PLAIN_SHARE * alpha) * per_block
        flat = slope.margin((1 - PLAIN_SHARE) * alpha) * per_block
        if not math.isfinite(improvement) or not math.isfinite(plain):
            return None
        now = improvement + _margin_now(slope) * per_block if n >= ONE_LOOK_BLOCKS else math.inf
        return _Fit(_upper(improvement, plain, flat), improvement, plain, flat, now, slope, n)

    def _test(self, look: _Look) -> Trend | None:
        alpha = self._alpha(look)
        with np.errstate(all="ignore"):
            fits = [fit for n in look.windows() if (fit := self._fit(look, n, alpha)) is not None]
            if not fits:
                return None
            best = min(fits, key=lambda fit: fit.upper)
            detectable = min(fit.flat for fit in fits)
            # The upper bound at this look, and the estimate that it bounds.
            now = min((fit.now, fit.improvement if fit.now < math.inf else math.inf) for fit in fits)
            if best.upper >= self._asked(abs(best.slope.end)):
                for n in look.longer_windows():
                    longer = self._fit(look, n, alpha)
                    if longer is None:
                        continue
                    asked = self._asked(abs(longer.slope.end))
                    if longer.improvement >= asked or any(fit.surely_improves_by(asked) for fit in fits):
                        break  # the longer ones are older news still
                    fits.append(longer)
                    detectable = min(detectable, longer.flat)
                    if longer.upper < asked:
                        best = longer
                        break
        upper, improvement, slope, n = best.upper, best.improvement, best.slope, best.blocks
        lower = improvement - best.plain
        level = abs(slope.end)
        asked = self._asked(level)
        is_flat, few_asked = upper < asked, 0.0
        if look.share:
            few = self._flat(look) if lower <= asked else None
            is_flat = few is not None
            if few is not None:
                improvement, upper, few_asked = few
                lower = min(lower, improvement)
        per_block = look.per_horizon / slope.blocks
        upper_now, improvement_now = (upper, improvement) if now[0] >= upper else now
        return Trend(
            step=look.step,
            state="plateau" if is_flat else "improving" if lower > asked else "undecided",
            horizon=look.horizon,
            level=level,
            improvement=improvement,
            lower=lower,
            upper=upper,
            improvement_now=improvement_now,
            upper_now=upper_now,
            end=slope.end,
            end_error=slope.end_error,
            per_step=slope.per_block * per_block / look.horizon,
            per_step_error=slope.error * per_block / look.horizon,
            samples=look.samples,
            detectable=detectable,
            span=look.horizon * n / look.per_horizon,
            few_asked=few_asked,
            few=look.share > 0,
        )

    # ---- state ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """See `Checkpointed.state`."""
        newest = self.trend
        trend = None if newest is None else [getattr(newest, f) for f in Trend.__dataclass_fields__]
        return {**super().state(), "trend": trend}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Checkpointed.restore`."""
        super().restore(state)
        self._trend = None if state["trend"] is None else Trend(*state["trend"])
        self._unfinished = None
