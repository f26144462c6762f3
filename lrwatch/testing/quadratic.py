"""Closed loop: a training whose loss answers to its learning rate, so that a command changes the data.

The noisy quadratic model (Zhang et al. 2019, "Which Algorithmic Choices Matter at Which Batch Sizes?", arXiv 1907.04164): many
independent directions with curvature h, each with gradient noise. The expected squared distance v of each follows its recursion
exactly, so the true risk of any sequence of learning rates is known; only what the log shows of it is noisy. High curvature
decides where training blows up, low curvature how long it takes, and the noise floor falls with the rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

# What keeps a training that has blown up within the range of a double.
LARGEST = 1e6


class NoisyQuadratic:
    """One training.

    Args:
        directions: How many.
        decay: Curvatures are i^-decay, i = 1, 2, ...
        noise: Variance of the gradient noise over the curvature.
        scatter: Size of the noise that the log shows, relative to its own scale.
        floor: Loss that no training gets below.
        seed: Of the noise that the log shows.

    >>> training = NoisyQuadratic()
    >>> for _ in range(2000):
    ...     training.step(0.5)
    >>> round(training.risk, 4)
    0.0271
    """

    def __init__(
        self,
        directions: int = 400,
        decay: float = 1.0,
        noise: float = 0.03,
        scatter: float = 0.05,
        floor: float = 0.1,
        seed: int = 0,
    ) -> None:
        self._curvature = np.arange(1.0, directions + 1) ** -decay
        self._distance = np.ones(directions)
        self._noise = noise * self._curvature
        self._scatter, self._floor = scatter, floor
        self._rng = np.random.default_rng(seed)

    def step(self, rate: float) -> None:
        """One step of SGD with this learning rate."""
        shrunk = (1 - rate * self._curvature) ** 2 * self._distance
        self._distance = np.minimum(shrunk + rate * rate * self._noise, LARGEST)

    @property
    def risk(self) -> float:
        """The expected excess loss now."""
        return 0.5 * float(self._curvature @ self._distance)

    def observe(self) -> float:
        """The loss of one batch, as a log shows it."""
        scale = math.sqrt(0.2 * self.risk + 0.02)
        return self._floor + self.risk + self._scatter * scale * float(self._rng.standard_normal())


def final_risk(rate: Callable[[int], float], steps: int, training: NoisyQuadratic | None = None) -> float:
    """The risk after `steps` steps under a schedule: step to learning rate.

    >>> constant, cosine = final_risk(lambda _: 1.0, 4000), final_risk(lambda i: 0.5 + 0.5 * math.cos(math.pi * i / 4000), 4000)
    >>> cosine < constant / 5
    True
    """
    training = NoisyQuadratic() if training is None else training
    for i in range(steps):
        training.step(rate(i))
    return training.risk


def hindsight(
    steps: int, rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 1.6), decay: float = 1.0, noise: float = 0.03
) -> float:
    """The best final risk of cosine, linear and late linear decay from any of `rates`: what an oracle schedule reaches."""
    shapes: tuple[Callable[[float], float], ...] = (
        lambda x: 0.5 + 0.5 * math.cos(math.pi * x),
        lambda x: 1 - x,
        lambda x: min(1.0, (1 - x) / 0.2),
    )
    return min(
        final_risk(lambda i, r=rate, s=shape: r * s(i / steps), steps, NoisyQuadratic(decay=decay, noise=noise))  # type: ignore[misc]
        for rate in rates
        for shape in shapes
    )
