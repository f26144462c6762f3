"""Plateau: the mean improves by less than is worth waiting for.

What it accumulates: block means of the winsorised values since the phase began. At each look the slope over windows of
1 to 5 horizons is fitted, with a standard error that holds under autocorrelated noise (`stats.slope`). The null
hypothesis is "the metric still improves by at least `min_improvement` per horizon"; a plateau is reported when, in
some window, the *upper* confidence bound of the improvement per horizon lies below that. Noise may delay a report, it
does not cause one. A convex curve is safe: its slope over a past window is steeper than its slope now.

The error budget `false_alarms` is for the whole life of a run. It is spent over phases, over the horizons of a phase
and over windows, so it holds however often the detector looks. The price: a report comes, in the median, about 1.2
horizons after the truth where the noise is small against an improvement worth having, later where it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions, Horizon
from lrwatch.core.sample import Floats, Ints
from lrwatch.core.snapshot import TrendState
from lrwatch.core.stats.blocks import RING, Blocks, Winsor
from lrwatch.core.stats.slope import MIN_BLOCKS, fit
from lrwatch.core.stats.student import t_quantile

# Windows in horizons. The short ones answer fast where noise is small, the long ones at all where it is large.
WINDOWS = (1.0, 1.5, 2.25, 3.4, 5.0)

# Looks per horizon: more would answer hardly sooner (a slope over a horizon moves slowly) and cost more.
LOOKS = 32

# Neighbouring looks see nearly the same window: a slope over a sliding window of one horizon has about this many
# independent values per horizon, so this is what the budget of a horizon is divided by.
INDEPENDENT_LOOKS = 2.0

# The windows lie within each other, so their slopes are far from independent: five of them err about as often as two that
# are. On the curves of known truth the promise is kept with room to spare (no false report in 240 runs at 1 %).
INDEPENDENT_WINDOWS = 2.0

# Window lengths in which the budget is spent evenly. A horizon of a tenth of the run passes seven times while the age of
# the run doubles, so nobody who waits for a plateau in this doubling or the next pays much for looking before.
EQUAL_HORIZONS = 8

# Sum of 1/(m ln^2 m) over m = 2, 3, ...
LOG_SQUARED_SUM = 2.1098

# For a decision that can be taken back, a bound that holds at one look is enough, if the window has blocks enough for its
# noise to be known. Both numbers come from closed loop on noisy quadratic problems: at 1 % or at 20 blocks cuts come
# too early, at 0.1 % too late.
ONE_LOOK_ALPHA = 0.005
ONE_LOOK_BLOCKS = 64

# Values of a horizon at the least, where it is a fraction of the run: over fewer, "a tenth of the run" is no time to improve
# in. A run has as many after fifty values.
MIN_HORIZON_SAMPLES = 5

# Blocks of a horizon: between half of this and this.
BLOCKS_PER_HORIZON = 128


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

    def ratio(self, amount: float) -> float:
        """`amount` relative to the level of the metric."""
        return amount / self.level if self.level > 0 else math.copysign(math.inf, amount) if amount else 0.0


class PlateauDetector:
    """Watches one metric of one run.

    >>> from lrwatch.core.detectors.plateau import PlateauDetector
    >>> rng = np.random.default_rng(0)
    >>> steps = np.arange(20_000)
    >>> loss = 2 + np.maximum(0, 8_000 - steps) / 2_000 + 0.5 * rng.standard_normal(20_000)
    >>> detector = PlateauDetector(DetectOptions(horizon=2000, min_improvement=0.2, relative=False))
    >>> [finding.step for finding in detector.run(steps, loss)]
    [10726]
    """

    def __init__(self, options: DetectOptions, metric: str = "") -> None:
        self._options = options
        self._metric = metric
        self._horizon = Horizon.parse(options.horizon)
        self._sign = 1.0 if options.direction == "min" else -1.0
        self._run_first: int | None = None
        self._phases = 0
        self._start_phase()

    def _start_phase(self) -> None:
        self._phases += 1
        self._winsor = Winsor()
        self._blocks = Blocks()
        self._bite: list[float] = []
        self._bite_size = 1
        self._first: int | None = None
        self._last = 0
        self._samples = 0
        self._unlooked = 0
        self._horizons = 0.0
        self._reported = False
        self.trend: Trend | None = None

    def restart(self) -> None:
        """A new phase begins: what was seen before is not comparable. The age of the run and the budget go on."""
        self._start_phase()

    def feed(self, steps: Ints, values: Floats) -> tuple[int, Trend | None]:
        """Take samples up to the next look. -> how many were taken, and the trend if that look could tell one.

        `steps` and `values` have shape (n,), n >= 1; values are finite, steps do not fall.
        """
        take = min(self._bite_size - len(self._bite), len(values))
        if take == 1:
            self._bite.append(float(values[0]))
        else:
            self._bite.extend(values[:take].tolist())
        if self._first is None:
            self._first = int(steps[0])
            self._run_first = self._first if self._run_first is None else min(self._run_first, self._first)
        self._last = int(steps[take - 1])
        if len(self._bite) < self._bite_size:
            return take, None
        self._blocks.extend(self._winsor.clip(np.array(self._bite)))
        self._samples += len(self._bite)
        self._unlooked += len(self._bite)
        self._bite = []
        return take, self._look()

    def run(self, steps: Ints, values: Floats) -> list[Finding]:
        """Feed a whole array (shape (n,)) and return the plateaus found. Values that are not finite are left out."""
        keep = np.isfinite(values)
        steps, values = steps[keep], values[keep]
        found = []
        at = 0
        while at < len(values):
            taken, trend = self.feed(steps[at:], values[at:])
            at += taken
            if trend is not None and (finding := self.finding(trend)):
                found.append(finding)
        return found

    def finding(self, trend: Trend) -> Finding | None:
        """The plateau that `trend` is the first evidence of, or None. Said again only after improvement came back."""
        if trend.state == "improving":
            self._reported = False
        if trend.state != "plateau" or self._reported:
            return None
        self._reported = True
        relative = self._options.relative

        def unit(amount: float) -> str:
            return f"{100 * trend.ratio(amount):.3g} %" if relative else f"{amount:.4g}"

        wanted = f"{100 * self._options.min_improvement:g} %" if relative else f"{self._options.min_improvement:g}"
        message = (
            f"{self._metric or 'the metric'} improves by {unit(trend.improvement)} per {trend.horizon:.0f} steps, surely "
            f"less than {unit(trend.upper)}; {wanted} was asked for"
        )
        return Finding(
            "plateau",
            self._metric,
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
            message,
        )

    # ---- one look -------------------------------------------------------------------------------------------------

    def _look(self) -> Trend | None:
        assert self._first is not None
        assert self._run_first is not None
        gap = (self._last - self._first) / (self._samples - 1) if self._samples > 1 else 1.0
        horizon = self._horizon.steps(self._last - self._run_first)
        in_samples = horizon / gap if gap > 0 else 0.0
        stride = max(1.0, in_samples / LOOKS)
        self._bite_size = int(min(stride, RING))
        least = 1 if self._horizon.fixed is not None else MIN_HORIZON_SAMPLES
        if in_samples < least or self._unlooked < stride:
            return None
        self._horizons += self._unlooked / in_samples
        self._unlooked = 0
        while in_samples / self._blocks.width >= BLOCKS_PER_HORIZON:
            self._blocks.merge()
        per_horizon = in_samples / self._blocks.width
        if self._horizon.fixed is not None:  # a fraction of the run grows into old blocks; a fixed horizon never does
            self._blocks.forget(int(per_horizon * WINDOWS[-1]) + 1)
        self.trend = self._test(per_horizon, horizon)
        return self.trend

    def _alpha(self, window: float) -> float:
        """The share of the error budget for one independent look at one window, now.

        1/(p(p+1)) for the p-th phase. Within it, looks come in groups of EQUAL_HORIZONS window lengths, which share alike;
        the m-th group, m = 2, 3, ..., has 1/(m ln^2 m), which falls little faster than it must to have a sum.
        """
        m = 2 + int(self._horizons / window / EQUAL_HORIZONS)
        share = self._options.false_alarms / INDEPENDENT_WINDOWS / INDEPENDENT_LOOKS / EQUAL_HORIZONS
        return share / (self._phases * (self._phases + 1)) / (m * math.log(m) ** 2 * LOG_SQUARED_SUM)

    def _test(self, per_horizon: float, horizon: float) -> Trend | None:
        best: Trend | None = None
        now = (math.inf, math.inf)  # upper bound at this look, and the estimate that it bounds
        for window in WINDOWS:
            n = max(MIN_BLOCKS, round(window * per_horizon))
            if n > len(self._blocks):
                break
            slope = fit(self._blocks.last(n))
            if slope is None:
                continue
            per_block = per_horizon / slope.blocks  # blocks of the window in a horizon
            improvement = -self._sign * slope.per_block * per_block
            margin = t_quantile(self._alpha(window), slope.df) * slope.error * per_block
            if not math.isfinite(improvement) or not math.isfinite(margin):
                continue
            upper, lower = improvement + margin, improvement - margin
            if n >= ONE_LOOK_BLOCKS:
                one_look = t_quantile(ONE_LOOK_ALPHA, slope.df) * slope.error * per_block
                now = min(now, (improvement + one_look, improvement))
            if best is not None and upper >= best.upper:
                continue
            level = abs(slope.end)
            asked = self._options.min_improvement * (level if self._options.relative else 1.0)
            state: TrendState = "plateau" if upper < asked else "improving" if lower > asked else "undecided"
            best = Trend(
                step=self._last,
                state=state,
                horizon=horizon,
                level=level,
                improvement=improvement,
                lower=lower,
                upper=upper,
                improvement_now=improvement,
                upper_now=upper,
                end=slope.end,
                end_error=slope.end_error,
                per_step=slope.per_block * per_block / horizon,
                per_step_error=slope.error * per_block / horizon,
                samples=self._samples,
            )
        if best is None or now[0] >= best.upper:
            return best
        return replace(best, upper_now=now[0], improvement_now=now[1])

    # ---- state ----------------------------------------------------------------------------------------------------

    _PLAIN = (
        "_run_first", "_phases", "_bite", "_bite_size", "_first", "_last", "_samples", "_unlooked", "_horizons",
        "_reported",
    )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """JSON-plain state: a detector restored from it goes on as this one would have."""
        plain = {name[1:]: getattr(self, name) for name in self._PLAIN}
        trend = None if self.trend is None else [getattr(self.trend, f) for f in Trend.__dataclass_fields__]
        return {**plain, "winsor": self._winsor.state(), "blocks": self._blocks.state(), "trend": trend}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        for name in self._PLAIN:
            setattr(self, name, state[name[1:]])
        self._bite = list(self._bite)
        self._winsor.restore(state["winsor"])
        self._blocks.restore(state["blocks"])
        self.trend = None if state["trend"] is None else Trend(*state["trend"])
