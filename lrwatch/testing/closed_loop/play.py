"""Closed loop, case 27 of `lrwatch.testing.synthetic.catalog`: a command changes the data, so what counts is the loss at the end.

Judged by reports alone, a rule that cuts at once looks good. Here a controller plays against a training whose noise floor
falls with the rate, and whose progress does too; its final risk is set against that of schedules that know the length of the
run: constant, two steps by hand, and the best of many in hindsight.

>>> make = PROBLEMS["quadratic"]
>>> best = hindsight(2000, make)
>>> [round(final_risk(lambda i: shape(i / 2000), 2000, make(0)) / best) for shape in (constant, by_hand)]
[10, 2]
>>> round(play(lambda *_: 1.0, make(0), 1.0, 2000) / best)
10
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np

from lrwatch.testing.closed_loop.problems import LARGEST, NoisyQuadratic


class Training(Protocol):
    """A training in which the true risk is known."""

    def step(self, rate: float) -> None:
        """One step with this learning rate."""

    @property
    def risk(self) -> float:
        """The expected excess loss now."""

    def observe(self) -> float:
        """The loss of one batch, as a log shows it."""


class PowerLaw:
    """A training that never flattens, with a noise floor that the rate decides.

    Risk is (1 + S / `start`)^-`exponent` + v / 2, where S is the sum of the rates so far: the power law in S of Tissue et al. 2024,
    "Scaling Law with Learning Rate Annealing" (arXiv 2408.11029). In place of their annealing area stands one direction of
    the noisy quadratic model with curvature 1, v <- (1 - rate)^2 v + rate^2 `noise`: it settles at rate * noise / (2 - rate)
    within some 1 / rate steps, and blows up from a rate of 2 on.

    Args:
        exponent: Of the power law.
        start: Sum of rates at which it begins to bend.
        noise: Variance of the gradient noise.
        scatter: Size of the noise that the log shows, relative to its own scale.
        floor: Loss that no training gets below.
        seed: Of the noise that the log shows.
    """

    def __init__(
        self,
        exponent: float = 0.5,
        start: float = 20.0,
        noise: float = 0.1,
        scatter: float = 0.05,
        floor: float = 1.0,
        seed: int = 0,
    ) -> None:
        self._exponent, self._start = exponent, start
        self._noise, self._scatter, self._floor = noise, scatter, floor
        self._gone = 0.0
        self._distance = 0.0
        self._rng = np.random.default_rng(seed)

    def step(self, rate: float) -> None:
        """One step with this learning rate."""
        self._gone += rate
        self._distance = min((1 - rate) ** 2 * self._distance + rate * rate * self._noise, LARGEST)

    @property
    def risk(self) -> float:
        """The expected excess loss now."""
        return float((1 + self._gone / self._start) ** -self._exponent + self._distance / 2)

    def observe(self) -> float:
        """The loss of one batch, as a log shows it."""
        return self._floor + self.risk + self._scatter * float(self._rng.standard_normal())


PROBLEMS: Mapping[str, Callable[[int], Training]] = MappingProxyType(
    {
        "quadratic": lambda seed: NoisyQuadratic(seed=seed),
        "quadratic, noisy gradients": lambda seed: NoisyQuadratic(noise=0.3, seed=seed),
        "quadratic, steep spectrum": lambda seed: NoisyQuadratic(decay=1.5, seed=seed),
        "quadratic, flat spectrum": lambda seed: NoisyQuadratic(decay=0.7, noise=0.1, seed=seed),
        "quadratic, noisy log": lambda seed: NoisyQuadratic(noise=0.3, scatter=0.2, seed=seed),
        "quadratic, noise in the log alone": lambda seed: NoisyQuadratic(noise=0.01, scatter=0.5, seed=seed),
        "power law": lambda seed: PowerLaw(seed=seed),
        "power law, slow": lambda seed: PowerLaw(exponent=0.3, noise=0.3, seed=seed),
    }
)
"""Name to what makes a training of it, of the seed of the noise in the log."""

Shape = Callable[[float], float]
"""The share of the run that is done to the multiplier of the rate."""


def constant(_: float) -> float:
    """No schedule."""
    return 1.0


def by_hand(share: float) -> float:
    """A tenth from the middle on, a hundredth in the last quarter."""
    return 1.0 if share < 0.5 else 0.1 if share < 0.75 else 0.01


def cosine(share: float) -> float:
    """To zero along a cosine."""
    return 0.5 + 0.5 * math.cos(math.pi * share)


def linear(share: float) -> float:
    """To zero along a line."""
    return 1 - share


def late(share: float) -> float:
    """Constant, and to zero along a line in the last fifth."""
    return min(1.0, (1 - share) / 0.2)


# Start rates that the schedules of hindsight have to choose from.
RATES = (0.03, 0.1, 0.3, 1.0, 1.6)


def final_risk(rate: Callable[[int], float], steps: int, training: Training | None = None) -> float:
    """The risk after `steps` steps of a training (a new `NoisyQuadratic` unless given) under a schedule: step to rate.

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
    """The best final risk of cosine, linear and late linear decay from any of `rates`: what an oracle schedule reaches."""

    def risk(rate: float, shape: Shape) -> float:
        return final_risk(lambda i: rate * shape(i / steps), steps, make(0))

    return min(risk(rate, shape) for rate in rates for shape in (cosine, linear, late))


def play(update: Callable[[int, float], float], training: Training, rate: float, steps: int) -> float:
    """The final risk where `update` (step and observed loss to scale) decides by what the rate is multiplied.

    `lrwatch.Controller(mode="auto").update` is one such function.
    """
    scale = 1.0
    for i in range(steps):
        training.step(rate * scale)
        scale = update(i, training.observe())
    return training.risk
