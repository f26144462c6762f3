"""Strategies that go by the clock of the run: step, exponential, cosine and WSD, as a scale for each step.

Each is a staircase, since every change is a command that the trainer acknowledges and the budget counts. Nothing is
remembered from one step to the next: what is wanted at a step follows from the plan and the step alone, so a daemon that
was killed, a refused command and a late one all end at the same scale.

Formulas: exponential, `factor ** (age / every)`; cosine without restarts, Loshchilov and Hutter (arXiv 1608.03983); WSD
(warmup, stable, decay), a constant followed by a line to zero, Hu et al. (arXiv 2404.06395) and Hagele et al. (arXiv
2405.18392). "Zero" is `min_scale`: a learning rate of nothing learns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from lrwatch.core.options import PolicyOptions, Timed
from lrwatch.core.sample import Floats, Ints

TIMED: tuple[str, ...] = get_args(Timed)

# Stairs of a whole decay: the budget of 20 commands holds it, and each lies within 3 % of the start scale from its curve.
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


def wanted(plan: Plan, steps: Ints, options: PolicyOptions) -> Floats:
    """The scale that the strategy wants at each of `steps`. -> shape (n,), within the bounds of the run.

    Args:
        plan: Where it began.
        steps: Steps of the run, shape (n,).
        options: `strategy` is one of TIMED.

    Raises:
        ValueError: The strategy does not go by steps.
    """
    age = np.maximum(steps - plan.began_at, 0).astype(np.float64)
    match options.strategy:
        case "step":
            share = options.factor ** np.floor(age / options.every)
        case "exponential":
            share = options.factor ** (np.floor(STAIRS_A_FACTOR * age / options.every) / STAIRS_A_FACTOR)
        case "cosine":
            share = (1 + np.cos(np.pi * _stair(age / options.length))) / 2
        case "wsd":
            decay_from, decay_steps = _decay(plan, options)
            share = 1 - _stair((age - decay_from) / decay_steps)
        case other:
            raise ValueError(f"strategy must be one of {', '.join(TIMED)} to go by steps, got {other!r}")
    return np.clip(plan.base * share, options.min_scale, options.max_scale)


def _decay(plan: Plan, options: PolicyOptions) -> tuple[float, float]:
    """At which age the decay of WSD begins, and how many steps it takes; one that is not known of never does."""
    if plan.decay_at is not None:
        begins = float(plan.decay_at - plan.began_at)
        # Of a run whose length is unknown, the decay is the same share as of one that was planned.
        of_the_run = options.length or begins / (1 - options.decay_share)
        return begins, max(options.decay_share * of_the_run, 1.0)
    if not options.length:
        return np.inf, 1.0
    return (1 - options.decay_share) * options.length, options.decay_share * options.length


def _stair(progress: Floats) -> Floats:
    """`progress` (0 to 1) in the middle of its stair; 0 on the first one and before, 1 at the end and behind."""
    stair = np.floor(STAIRS * progress)
    return np.where(stair < 1, 0.0, np.where(stair >= STAIRS, 1.0, (stair + 0.5) / STAIRS))
