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

`due` is a pure step over `Sweep`.

>>> from lrwatch.core.strategies.plateau import PolicyState
>>> [round(scale, 2) for scale in Sweep.plan(0, PolicyState(), 1200, PolicyOptions(max_scale=4.0)).scales]
[0.1, 0.14, 0.2, 0.27, 0.38, 0.53, 0.75, 1.05, 1.46, 2.05, 2.86, 4.0]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from lrwatch.core.events import Command, RangeTest
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies import limits

# Stairs of a test: each costs a command of the budget, and so does the way back.
STAIRS = 12

# More commands than any budget has.
_NEVER = 10**9

# A level is worse than another by so many standard deviations of single values, and by this share of its size.
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
    def plan(cls, began_at: int, standing: limits.Standing, steps: int, options: PolicyOptions) -> Sweep:
        """A test of `steps` steps that begins at step `began_at`.

        Raises:
            ValueError: There is no range between the bounds, or too few commands are left for it.
        """
        base, high = standing.scale, options.max_scale
        low = max(options.min_scale, base * options.max_factor_down)
        if high <= low:
            raise ValueError(f"range_test must have room between the bounds, got {low:.4g} to {high:.4g}")
        least = max(_commands(high / low, options.max_factor_up), 1) + 1
        # It may have to go back from the first stair as well as from the last.
        back = max(_commands(base / low, options.max_factor_up), _commands(high / base, 1 / options.max_factor_down))
        left = options.max_commands - standing.commands
        if left < least + back:
            raise ValueError(
                f"range_test from {low:.4g} to {high:.4g} must have {least + back} commands, and {max(left, 0)} are left"
            )
        n = min(max(STAIRS, least), left - back)
        scales = (*(low * (high / low) ** (i / (n - 1)) for i in range(n - 1)), high)
        return cls(began_at, base, scales, steps / n)

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Sweep:
        """From what `dataclasses.asdict` and JSON made of it."""
        stairs = tuple(Stair(**stair) for stair in state["stairs"])
        return cls(**{**state, "scales": tuple(state["scales"]), "stairs": stairs, "now": Stair(**state["now"])})


def _commands(ratio: float, largest: float) -> int:
    """How many commands it takes to change the scale by `ratio`, 1 or more, if one changes it by `largest` at the most."""
    if ratio <= 1:
        return 0
    return math.ceil(math.log(ratio) / math.log(largest) - 1e-9) if largest > 1 else _NEVER


def due(
    sweep: Sweep, standing: limits.Standing, step: int, value: float, options: PolicyOptions
) -> tuple[Sweep, Command | RangeTest | None]:
    """Take one value of the watched metric. -> the next command; at the end, once the scale is restored, the result.

    Args:
        sweep: The test.
        standing: The scale in use, and what the guards look at.
        step: The step of the value.
        value: The value, less is better; whatever a float can be.
        options: The bounds.
    """
    if standing.asked is not None:
        return sweep, None
    at = len(sweep.stairs)
    target = sweep.base if sweep.over else sweep.scales[at]
    if standing.scale != target:
        scale = limits.bounded(target, standing, options)
        if scale == standing.scale or limits.refuses(standing, scale, step, options):
            return sweep, None
        what = "the range test is over" if sweep.over else f"range test, stair {at + 1} of {len(sweep.scales)}"
        return sweep, Command(step, scale, f"{what}: scale {scale:.4g}", cause="range_test")
    if sweep.over:
        return sweep, result(sweep, step)
    age = step - max(standing.applied_at or 0, sweep.began_at)
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
    """The run diverges where the test stands: nothing higher is tried."""
    if sweep.over:
        return sweep
    return replace(sweep, diverges=sweep.scales[len(sweep.stairs)], over=True)


def refused(sweep: Sweep) -> Sweep:
    """The trainer, whose bounds may be others than ours, does not go where the test stands: nothing higher is tried."""
    return sweep if sweep.over else replace(sweep, refused=sweep.scales[len(sweep.stairs)], over=True)


def _is_worse(sweep: Sweep) -> bool:
    if not sweep.stairs:
        return False
    best = min(sweep.stairs, key=lambda stair: stair.mean)
    worse = sweep.now.mean - best.mean
    return worse > DEVIATIONS * best.deviation and worse > SHARE * abs(best.mean)


def result(sweep: Sweep, step: int) -> RangeTest:
    """What the test says, at its end at `step`."""
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
        parts.append(f"the valley is at {valley:.4g}")
    parts.append("it did not diverge" if sweep.diverges is None else f"it diverges at {sweep.diverges:.4g}")
    if sweep.refused is not None:
        parts.append(f"{sweep.refused:.4g} was refused")
    message = f"{'; '.join(parts)}; scale {sweep.base:.4g} is restored"
    return RangeTest(step, tuple(scales), tuple(levels), steepest, valley, sweep.diverges, message)


def _longest_descent(levels: Sequence[float]) -> list[int]:
    """Indices of the longest strictly falling subsequence, the earliest one of several."""
    best: list[list[int]] = []
    for i, level in enumerate(levels):
        before = max((run for run in best if levels[run[-1]] > level), key=len, default=[])
        best.append([*before, i])
    return max(best, key=len, default=[])
