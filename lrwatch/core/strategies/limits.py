"""What no strategy may do, whatever it wants: speak without leave, too often, too early, too far, or too much at once."""

from __future__ import annotations

import math
from typing import Protocol

from lrwatch.core.options import PolicyOptions

# Scales that differ by less are the same: 0.1 * 0.1 is not 0.01 in binary.
SAME = 1e-12


class Standing(Protocol):
    """What the guards look at: see `reduce.PolicyState`."""

    @property
    def scale(self) -> float: ...  # noqa: D102
    @property
    def asked(self) -> float | None: ...  # noqa: D102
    @property
    def commands(self) -> int: ...  # noqa: D102
    @property
    def applied_at(self) -> int | None: ...  # noqa: D102
    @property
    def quiet_until(self) -> float: ...  # noqa: D102


def forbid(state: Standing, options: PolicyOptions) -> bool:
    """Whether no command may be given, at whatever step: nobody wants one, one is on its way, or the budget is spent."""
    wanted = options.mode != "observe" and options.strategy != "observe"
    return not wanted or state.asked is not None or state.commands >= options.max_commands


def refuses(state: Standing, scale: float, step: int, options: PolicyOptions) -> bool:
    """Whether `scale` may not be asked for at `step`.

    As `forbid` and `earliest`, but a scale that was only proposed, and that nobody answered, is no obstacle to another.
    """
    on_its_way = state.asked is not None and (options.mode == "auto" or state.asked == scale)
    spent = state.commands >= options.max_commands
    return options.mode == "observe" or on_its_way or spent or step < earliest(state, options)


def earliest(state: Standing, options: PolicyOptions) -> float:
    """The first step at which a command may be given: behind the warmup, and behind a refusal."""
    return max(options.warmup_steps, state.quiet_until)


def bounded(scale: float, state: Standing, options: PolicyOptions) -> float:
    """The nearest scale to `scale` that one command may ask for: within the bounds of the run, and of one command."""
    low = max(options.min_scale, state.scale * options.max_factor_down)
    high = min(options.max_scale, state.scale * options.max_factor_up)
    nearest = min(max(scale, min(low, high)), high)
    return scale if same(scale, nearest) else nearest


def same(scale: float, other: float) -> bool:
    """Whether two scales differ by rounding alone."""
    return math.isclose(scale, other, rel_tol=SAME)
