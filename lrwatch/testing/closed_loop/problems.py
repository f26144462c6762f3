"""A training whose loss answers to its learning rate, so that a command changes the data; played in `lrwatch.testing.closed_loop.play`.

The noisy quadratic model (Zhang et al. 2019, "Which Algorithmic Choices Matter at Which Batch Sizes?", arXiv 1907.04164): many
independent directions with curvature h, each with gradient noise. The expected squared distance v of each follows its recursion
exactly, so the true risk of any sequence of learning rates is known; only what the log shows of it is noisy. High curvature
decides where training blows up, low curvature how long it takes, and the noise floor falls with the rate.
"""

from __future__ import annotations

import math

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
