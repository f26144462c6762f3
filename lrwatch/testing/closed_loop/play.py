"""Schedules and controllers in a closed loop: a command changes the data, so the final loss is the criterion.

This is case 27 of `lrwatch.testing.synthetic.catalog`. Judged by reports alone, a rule that cuts at once looks good.
Here a controller runs on a training whose noise floor and whose progress both fall with the rate. Its final risk is
compared with that of schedules that know the length of the run: constant, two steps, and the best of many in hindsight.

>>> make = PROBLEMS["quadratic"]
>>> best = hindsight(2000, make)
>>> [round(final_risk(lambda i: shape(i / 2000), 2000, make(0)) / best) for shape in (constant, two_steps)]
[10, 2]
>>> round(play(lambda *_: 1.0, make(0), 1.0, 2000) / best)
10
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lrwatch.testing.closed_loop.problems import PROBLEMS, NoisyQuadratic, Training

Shape = Callable[[float], float]
"""Maps the completed share of the run to the multiplier of the rate."""


def constant(_: float) -> float:
    """Keep the rate."""
    return 1.0


def two_steps(share: float) -> float:
    """Step down to a tenth at half of the run, and to a hundredth at three quarters."""
    return 1.0 if share < 0.5 else 0.1 if share < 0.75 else 0.01


def cosine(share: float) -> float:
    """Decay to zero along a cosine."""
    return 0.5 + 0.5 * math.cos(math.pi * share)


def linear(share: float) -> float:
    """Decay to zero along a line."""
    return 1 - share


def late(share: float) -> float:
    """Keep the rate, then decay to zero along a line in the last fifth."""
    return min(1.0, (1 - share) / 0.2)


# Start rates that `hindsight` tries.
RATES = (0.03, 0.1, 0.3, 1.0, 1.6)


def final_risk(rate: Callable[[int], float], steps: int, training: Training | None = None) -> float:
    """Run a training under a schedule.

    Args:
        rate: The schedule; maps a step, from 0, to the learning rate.
        steps: Number of steps.
        training: The training; a new `NoisyQuadratic` unless given.

    Returns:
        The risk after the last step.

    >>> falling = final_risk(lambda i: cosine(i / 4000), 4000)
    >>> falling < final_risk(lambda _: 1.0, 4000) / 5
    True
    """
    training = NoisyQuadratic() if training is None else training
    for i in range(steps):
        training.step(rate(i))
    return training.risk


def hindsight(
    steps: int, make: Callable[[int], Training] = PROBLEMS["quadratic"], rates: Sequence[float] = RATES
) -> float:
    """Return the final risk of the best cosine, linear or late linear decay: what an oracle schedule reaches.

    Args:
        steps: Number of steps.
        make: Function that makes the training, as in `PROBLEMS`.
        rates: Start rates to try.

    Returns:
        The lowest final risk.
    """

    def risk(rate: float, shape: Shape) -> float:
        return final_risk(lambda i: rate * shape(i / steps), steps, make(0))

    return min(risk(rate, shape) for rate in rates for shape in (cosine, linear, late))


def play(update: Callable[[int, float], float], training: Training, rate: float, steps: int) -> float:
    """Run a training under a controller.

    Args:
        update: The controller; maps a step, from 0, and its observed loss to the multiplier of the rate from the next
            step on. `lrwatch.Controller(mode="auto").update` is one.
        training: The training, at its start.
        rate: Learning rate at a multiplier of 1.
        steps: Number of steps.

    Returns:
        The risk after the last step.
    """
    scale = 1.0
    for i in range(steps):
        training.step(rate * scale)
        scale = update(i, training.observe())
    return training.risk
