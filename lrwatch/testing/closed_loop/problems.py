"""Simulated trainings whose loss responds to the learning rate: a command changes the data.

The true risk of each is known for any sequence of learning rates; only the logged loss is noisy.
`lrwatch.testing.closed_loop.play` runs schedules and controllers on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

# Bound that keeps a diverged training within the range of a double.
LARGEST = 1e6


class Training(Protocol):
    """A training whose true risk is known."""

    def step(self, rate: float) -> None:
        """Take one step with this learning rate."""

    @property
    def risk(self) -> float:
        """The expected excess loss now."""

    def observe(self) -> float:
        """Return the loss of one batch, as the log shows it."""


class NoisyQuadratic:
    """The noisy quadratic model.

    From Zhang et al. 2019, "Which Algorithmic Choices Matter at Which Batch Sizes?" (arXiv 1907.04164): many independent
    directions with curvature h, each with gradient noise. The expected squared distance v of each follows its recursion
    exactly. High curvature decides at which rate training diverges, low curvature how long training takes, and the
    noise floor falls with the rate.

    Args:
        directions: Number of directions.
        decay: Exponent of the curvatures, which are i^-decay, i = 1, 2, ...
        noise: Variance of the gradient noise over the curvature.
        scatter: Size of the noise in the log, relative to the scale of the loss.
        floor: Irreducible loss.
        seed: Seed of the noise in the log.

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
        """Take one step of SGD with this learning rate."""
        shrunk = (1 - rate * self._curvature) ** 2 * self._distance
        self._distance = np.minimum(shrunk + rate * rate * self._noise, LARGEST)

    @property
    def risk(self) -> float:
        """The expected excess loss now."""
        return 0.5 * float(self._curvature @ self._distance)

    def observe(self) -> float:
        """Return the loss of one batch, as the log shows it."""
        scale = math.sqrt(0.2 * self.risk + 0.02)
        return self._floor + self.risk + self._scatter * scale * float(self._rng.standard_normal())


class PowerLaw:
    """A training that never flattens, with a noise floor set by the rate.

    Risk is (1 + S / `start`)^-`exponent` + v / 2, where S is the sum of the rates so far: the power law in S of Tissue et al. 2024,
    "Scaling Law with Learning Rate Annealing" (arXiv 2408.11029). One direction of the noisy quadratic model with curvature 1
    replaces their annealing area, v <- (1 - rate)^2 v + rate^2 `noise`: it settles at rate * noise / (2 - rate) within
    about 1 / rate steps, and diverges from a rate of 2 on.

    Args:
        exponent: Exponent of the power law.
        start: Sum of rates at which it begins to bend.
        noise: Variance of the gradient noise.
        scatter: Size of the noise in the log, relative to the scale of the loss.
        floor: Irreducible loss.
        seed: Seed of the noise in the log.
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
        self._rate_sum = 0.0
        self._distance = 0.0
        self._rng = np.random.default_rng(seed)

    def step(self, rate: float) -> None:
        """Take one step with this learning rate."""
        self._rate_sum += rate
        self._distance = min((1 - rate) ** 2 * self._distance + rate * rate * self._noise, LARGEST)

    @property
    def risk(self) -> float:
        """The expected excess loss now."""
        return float((1 + self._rate_sum / self._start) ** -self._exponent + self._distance / 2)

    def observe(self) -> float:
        """Return the loss of one batch, as the log shows it."""
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
"""Functions that make a training, by name; each takes the seed of the noise in the log."""
