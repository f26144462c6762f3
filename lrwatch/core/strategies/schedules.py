"""Strategies that go by the clock of the run: step, exponential, cosine and WSD, as a scale for each step.

Each is a staircase, since every change is a command that the trainer acknowledges and the budget counts. Nothing is
remembered from one step to the next: what is wanted at a step follows from the plan and the step alone, so a daemon that
was killed, a refused command and a late one all end at the same scale.

Formulas: exponential, `factor ** (age / every)`; cosine without restarts, Loshchilov and Hutter (arXiv 1608.03983); WSD
(warmup, stable, decay), a constant followed by a line to zero, Hu et al. (arXiv 2404.06395) and Hagele et al. (arXiv
2405.18392). The warmup is the trainer's own. "Zero" is `min_scale`: a learning rate of nothing learns nothing.

>>> options = PolicyOptions(strategy="cosine", length=1000)
>>> [round(wanted(Plan(), step, options), 3) for step in (0, 100, 500, 900, 1000)]
[1.0, 0.978, 0.451, 0.022, 0.001]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from lrwatch.core.options import PolicyOptions, Timed

TIMED: tuple[str, ...] = get_args(Timed)

# Stairs of a whole decay: the budget of 20 commands holds it, and each lies within 6 % of the start scale from its curve.
STAIRS = 16

# Stairs of an exponential decay for each `factor`: from 1 to the smallest scale with 20 commands, at the defaults.
STAIRS_A_FACTOR = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a strategy began.

    Attributes:
        began_at: The step that its ages are counted from.
        base: The scale that it begins with.
        decay_at: The step at which an operator began the decay of WSD, or None.
    """

    began_at: int = 0
    base: float = 1.0
    decay_at: int | None = None


def wanted(plan: Plan, step: int, options: PolicyOptions) -> float:
    """The scale that the strategy wants at `step`, within the bounds of the run.

    Raises:
        ValueError: The strategy does not go by steps.
    """
    return min(max(plan.base * share(plan, step, options), options.min_scale), options.max_scale)


def share(plan: Plan, step: int, options: PolicyOptions) -> float:
    """What the strategy leaves at `step` of the scale that it began with."""
    age = max(step - plan.began_at, 0)
    match options.strategy:
        case "step":
            return options.factor ** (age // options.every)
        case "exponential":
            return float(options.factor ** (STAIRS_A_FACTOR * age // options.every / STAIRS_A_FACTOR))
        case "cosine":
            return (1 + math.cos(math.pi * _stair(age / options.length))) / 2
        case "wsd":
            decay_from, decay_steps = _decay(plan, options)
            return 1 - _stair((age - decay_from) / decay_steps)
        case other:
            raise ValueError(f"strategy must be one of {', '.join(TIMED)} to go by steps, got {other!r}")


def _decay(plan: Plan, options: PolicyOptions) -> tuple[float, float]:
    """At which age the decay of WSD begins, and how many steps it takes; one that is not known of never does."""
    if plan.decay_at is not None:
        begins = float(plan.decay_at - plan.began_at)
        # Of a run whose length is unknown, the decay is the same share as of one that was planned.
        of_the_run = options.length or begins / (1 - options.decay_share)
        return begins, max(options.decay_share * of_the_run, 1.0)
    if not options.length:
        return math.inf, 1.0
    return (1 - options.decay_share) * options.length, options.decay_share * options.length


def _stair(progress: float) -> float:
    """`progress` (0 to 1) in the middle of its stair; 0 on the first one and before, 1 at the end and behind."""
    if progress * STAIRS < 1:
        return 0.0
    stair = math.floor(STAIRS * progress)
    return 1.0 if stair >= STAIRS else (stair + 0.5) / STAIRS
