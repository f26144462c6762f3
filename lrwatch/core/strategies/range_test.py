"""The learning-rate range test on the live run: stairs upwards within the bounds, what each brought, and back again.

Smith (arXiv 1506.01186, 1803.09820) raises the rate from very low to very high in a run that is thrown away. Here the run
goes on afterwards, so the test stays within [min_scale, max_scale], begins where one command leads down to, `max_factor_down`
below the scale in use, and ends at once where the run leaves its course. With `max_scale` 1 it looks at lower rates only.

Every stair is as long as the others, in steps, counted from the step at which the trainer applied it. Its level is the mean
of the second half, which the loss has had time to reach. Then:

- steepest: the scale of the stair on which the loss fell by most. As `steep` of fastai's `lr_find`, where the rate rises by equal
  factors in equal times.
- valley: as fastai's default: of the longest run of levels, gaps allowed, each of which is lower than the one before, the
  scale in the middle of its range.
- diverges: the first scale whose level is worse than the best one by DEVIATIONS of the scatter of single values and by SHARE of
  its size, or on which the run diverged or was not finite.

>>> from lrwatch.core.options import PolicyOptions
>>> [round(scale, 2) for scale in Sweep.plan(0, 1200, CommandLimits(options=PolicyOptions(max_scale=4.0))).scales]
[0.1, 0.14, 0.2, 0.27, 0.38, 0.53, 0.75, 1.05, 1.46, 2.05, 2.86, 4.0]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar

from lrwatch.core.command import Asked
from lrwatch.core.events import Command, Finding, RangeTest
from lrwatch.core.strategies.base import Context, Strategy, StrategyDecision
from lrwatch.core.strategies.limits import CommandLimits

# Stairs of a test: each costs a command of the budget, and so does the way back.
STAIRS = 12

# More commands than any budget has.
_NEVER = 10**9

# A level is worse than another by this many standard deviations of single values, and by this share of its size.
DEVIATIONS = 3.0
SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Stair:
    """What was seen on one stair, in its second half: values, their mean, and the sum of squared deviations from it."""

    scale: float
    values: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> Stair:
        """One value more (Welford 1962)."""
        n = self.values + 1
        delta = value - self.mean
        mean = self.mean + delta / n
        return Stair(self.scale, n, mean, self.squares + delta * (value - mean))

    @property
    def deviation(self) -> float:
        """Of single values."""
        return math.sqrt(self.squares / (self.values - 1)) if self.values > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """A test under way.

    Attributes:
        began_at: The step at which it began.
        base: The scale before, which is restored.
        scales: What is tried, in order.
        stair_steps: Steps on each.
        stairs: What was seen on those that are done.
        now: What was seen so far on the one after them.
        diverges: The scale at which the run left its course, or None.
        refused: The scale that was refused, which ended the test, or None.
        over: The way back has begun.
    """

    began_at: int
    base: float
    scales: tuple[float, ...]
    stair_steps: float
    stairs: tuple[Stair, ...] = ()
    now: Stair = field(default=Stair(0.0))
    diverges: float | None = None
    refused: float | None = None
    over: bool = False

    @classmethod
    def plan(cls, began_at: int, steps: int, limits: CommandLimits) -> Sweep:
        """Return a test of `steps` steps that begins at step `began_at`.

        Raises:
            ValueError: There is no range between the bounds, or too few commands are left for it.
        """
        options = limits.options
        base, high = limits.scale, options.max_scale
        low = max(options.min_scale, base * options.max_factor_down)
        if high <= low:
            raise ValueError(f"range_test must have room between the bounds, got {low:.4g} to {high:.4g}")
        least = max(_commands(high / low, options.max_factor_up), 1) + 1
        # It may have to go back from the first stair as well as from the last.
        back = max(_commands(base / low, options.max_factor_up), _commands(high / base, 1 / options.max_factor_down))
        left = options.max_commands - limits.command.count
        if left < least + back:
            raise ValueError(
                f"range_test from {low:.4g} to {high:.4g} must have {least + back} commands, and {max(left, 0)} are left"
            )
        n = min(max(STAIRS, least), left - back)
        scales = (*(low * (high / low) ** (i / (n - 1)) for i in range(n - 1)), high)
        return cls(began_at, base, scales, steps / n)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Sweep:
        """Return the test that `dataclasses.asdict` and JSON made `state` of."""
        stairs = tuple(Stair(**stair) for stair in state["stairs"])
        return cls(**{**state, "scales": tuple(state["scales"]), "stairs": stairs, "now": Stair(**state["now"])})


def _commands(ratio: float, largest: float) -> int:
    """How many commands it takes to change the scale by `ratio`, 1 or more, if one changes it by `largest` at the most."""
    if ratio <= 1:
        return 0
    return math.ceil(math.log(ratio) / math.log(largest) - 1e-9) if largest > 1 else _NEVER


@dataclass(frozen=True, slots=True)
class LrRangeTest(Strategy):
    """Run a range test, then hand over to the strategy before it.

    Its effects are not measured: it goes everywhere.

    Attributes:
        sweep: The test, or None before the first value.
    """

    NAME: ClassVar[str] = "range_test"
    MEASURED: ClassVar[bool] = False
    WANTS_STEPS: ClassVar[bool] = True
    NEEDS_TRAINER: ClassVar[bool] = True
    INTERRUPTS: ClassVar[bool] = True

    sweep: Sweep | None = None

    def begin(self, step: int, context: Context) -> LrRangeTest:
        """Return a test that begins at `step`.

        Raises:
            ValueError: One is under way, the mode is not auto, or `Sweep.plan` finds no room.
        """
        if self.sweep is not None:
            raise ValueError("a range test must be over before the next one, and one is under way")
        mode = context.options.mode
        if mode != "auto":
            raise ValueError(f"mode must be auto for range_test, which is nothing but commands, got {mode!r}")
        return LrRangeTest(Sweep.plan(step, context.options.length, context))

    def found(self, finding: Finding, context: Context, *, watched: bool) -> StrategyDecision:
        """Try nothing higher once the run diverges."""
        if self.sweep is None or not watched or finding.kind not in ("divergence", "nonfinite"):
            return StrategyDecision(self)
        return StrategyDecision(LrRangeTest(left_course(self.sweep)))

    def tick(self, step: int, value: float, context: Context) -> StrategyDecision:
        """Take one value: ask for the next command, or report once the scale is restored."""
        if self.sweep is None:
            try:
                return self.begin(step, context).tick(step, value, context)
            except ValueError as error:
                return StrategyDecision(self, RangeTest(step, (), (), None, None, None, f"no range test: {error}"))
        sweep, outcome = advance(self.sweep, step, context.sign * value, context)
        if isinstance(outcome, RangeTest):
            outcome = replace(outcome, levels=tuple(context.sign * level for level in outcome.levels))
            return StrategyDecision(LrRangeTest(), outcome)
        return StrategyDecision(LrRangeTest(sweep), outcome, None if outcome is None else Asked(outcome.scale))

    def refused(self, until: float, context: Context) -> tuple[LrRangeTest, float]:
        """Try nothing higher where the trainer refuses, and go back at once."""
        if self.sweep is None or self.sweep.over:
            return self, until
        sweep = replace(self.sweep, refused=self.sweep.scales[len(self.sweep.stairs)], over=True)
        return LrRangeTest(sweep), context.command.quiet_until

    @property
    def restores_scale(self) -> float | None:
        """The scale before the test, while one is under way."""
        return None if self.sweep is None else self.sweep.base

    def end(self) -> LrRangeTest:
        """Begin the way back."""
        return self if self.sweep is None else LrRangeTest(replace(self.sweep, over=True))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LrRangeTest:
        """Return the strategy whose `state` this is."""
        return cls(None if state["sweep"] is None else Sweep.from_state(state["sweep"]))


def advance(sweep: Sweep, step: int, value: float, limits: CommandLimits) -> tuple[Sweep, Command | RangeTest | None]:
    """Take one value of the watched metric.

    Args:
        sweep: The test.
        step: The step of the value.
        value: The value, less is better; it may be NaN or infinite.
        limits: What may be commanded now.

    Returns:
        The test after it, and the next command; at the end, once the scale is restored, the result.
    """
    command = limits.command
    if command.wanted is not None:
        return sweep, None
    at = len(sweep.stairs)
    target = sweep.base if sweep.over else sweep.scales[at]
    if command.scale != target:
        scale = limits.bounded(target)
        if scale == command.scale or limits.refuses(scale, step):
            return sweep, None
        what = "the range test is over" if sweep.over else f"range test, stair {at + 1} of {len(sweep.scales)}"
        return sweep, Command(step, scale, f"{what}: scale {scale:.4g}", cause="range_test")
    if sweep.over:
        return sweep, result(sweep, step)
    age = step - max(command.applied_at or 0, sweep.began_at)
    if age < 0:  # of the stair before
        return sweep, None
    if not math.isfinite(value):
        return left_course(sweep), None
    if age >= sweep.stair_steps / 2:
        sweep = replace(sweep, now=replace(sweep.now, scale=target).add(value))
    if age < sweep.stair_steps or not sweep.now.values:
        return sweep, None
    if _is_worse(sweep):
        return left_course(sweep), None
    done = (*sweep.stairs, sweep.now)
    return replace(sweep, stairs=done, now=Stair(0.0), over=len(done) == len(sweep.scales)), None


def left_course(sweep: Sweep) -> Sweep:
    """Return the test after the run diverged: it tries nothing higher."""
    if sweep.over:
        return sweep
    return replace(sweep, diverges=sweep.scales[len(sweep.stairs)], over=True)


def _is_worse(sweep: Sweep) -> bool:
    if not sweep.stairs:
        return False
    best = min(sweep.stairs, key=lambda stair: stair.mean)
    worse = sweep.now.mean - best.mean
    return worse > DEVIATIONS * best.deviation and worse > SHARE * abs(best.mean)


def result(sweep: Sweep, step: int) -> RangeTest:
    """Return the result of the test, which ends at `step`."""
    scales, levels = [stair.scale for stair in sweep.stairs], [stair.mean for stair in sweep.stairs]
    falls = [before - after for before, after in pairwise(levels)]
    steepest = scales[1 + max(range(len(falls)), key=falls.__getitem__)] if falls and max(falls) > 0 else None
    run = _longest_descent(levels)
    valley = scales[run[0] + (run[-1] - run[0]) // 2] if len(run) > 1 else None
    parts = [
        f"{len(scales)} of {len(sweep.scales)} scales from {sweep.scales[0]:.4g} to {sweep.scales[-1]:.4g} were tried"
    ]
    parts.append("the loss fell on none" if steepest is None else f"it fell fastest at {steepest:.4g}")
    if valley is not None:
        parts.append(f"the valley, in the middle of its longest fall, is at {valley:.4g}")
    parts.append("it did not diverge" if sweep.diverges is None else f"it diverges at {sweep.diverges:.4g}")
    if sweep.refused is not None:
        parts.append(f"{sweep.refused:.4g} was refused")
    message = f"{'; '.join(parts)}; scale {sweep.base:.4g} is restored"
    return RangeTest(step, tuple(scales), tuple(levels), steepest, valley, sweep.diverges, message)


def _longest_descent(levels: Sequence[float]) -> list[int]:
    """Return the indices of the longest strictly falling subsequence, the earliest one of several."""
    best: list[list[int]] = []
    for i, level in enumerate(levels):
        before = max((run for run in best if levels[run[-1]] > level), key=len, default=[])
        best.append([*before, i])
    return max(best, key=len, default=[])
