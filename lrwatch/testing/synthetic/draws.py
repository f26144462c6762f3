"""Means and draws shared by the cases of `lrwatch.testing.synthetic.catalog`: a curve, and noise around it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lrwatch.core.events import Kind
from lrwatch.core.sample import Floats
from lrwatch.testing.synthetic.base import Draw, Plan, SyntheticLog, single
from lrwatch.testing.synthetic.noise import Noise, gauss
from lrwatch.testing.synthetic.trends import exponential

Mean = Callable[[Plan], Floats]
Transform = Callable[[Plan, Floats], Floats]


def healthy(plan: Plan) -> Floats:
    """Return the usual mean: a line that improves 1.5 times as fast as required."""
    return plan.line(1.5)


def noisy(
    mean: Mean,
    noise: Noise = gauss,
    sd: Callable[[Plan], float | Floats] | None = None,
    allowed: tuple[Kind, ...] = (),
) -> Draw:
    """Draw a loss with noise around its mean.

    Args:
        mean: The mean of a plan, shape (n,).
        noise: Noise of standard deviation 1.
        sd: Standard deviation of the noise in required improvements: a number or shape (n,); 1 unless given.
        allowed: Kinds of findings that count neither as right nor as wrong.

    Returns:
        The function that draws the log.
    """

    def draw(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
        curve = mean(plan)
        size = plan.unit * (1.0 if sd is None else sd(plan))
        return single(plan, curve + size * noise(rng, plan.n), curve, allowed=dict.fromkeys(allowed, plan.span()))

    return draw


def transformed(mean: Mean, transform: Transform, *, moves: bool = False, allowed: tuple[Kind, ...] = ()) -> Draw:
    """Draw a loss with white noise, and transform the result.

    Args:
        mean: The mean of a plan, shape (n,).
        transform: Function of the plan and the values that returns the values of the log.
        moves: Whether the transform is part of the truth, and applies to the mean too.
        allowed: Kinds of findings that count neither as right nor as wrong.

    Returns:
        The function that draws the log.
    """

    def draw(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
        curve = mean(plan)
        values = transform(plan, curve + plan.unit * rng.standard_normal(plan.n))
        truth = transform(plan, curve) if moves else curve
        return single(plan, values, truth, allowed=dict.fromkeys(allowed, plan.span()))

    return draw


def power(exponent: float) -> Mean:
    """Return a power law that at its end still improves 1.5 times as fast as required."""

    def mean(plan: Plan) -> Floats:
        n, horizon = plan.n, plan.horizon
        curve = (1 + np.arange(n) * 50 / n) ** -exponent
        at_end = curve[-1] - (1 + (n - 1 + horizon) * 50 / n) ** -exponent
        return np.asarray(plan.unit * (20 + 1.5 * curve / at_end), np.float64)

    return mean


def approach(plan: Plan) -> Floats:
    """Return an exponential approach that at its end still improves 1.5 times as fast as required."""
    decay = plan.n / 1.5
    left = 1.5 * plan.unit * decay / plan.horizon
    end = 20 * plan.unit
    return exponential(plan.n, decay, end + left * math.exp(1.5), end)
