"""SGD with momentum and AdamW on many trainings at once, each with its own learning rate; otherwise as in torch."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from bench.closed.data import Floats32

MOMENTUM = 0.9

# Defaults of torch's AdamW.
BETA1, BETA2, EPS, DECAY = 0.9, 0.999, 1e-8, 0.01


class Optimizer(Protocol):
    """Optimizer of weights of shape (runs, size) with rates of shape (runs, 1)."""

    def step(self, weights: Floats32, gradient: Floats32, rates: Floats32) -> None:
        """Take one step in place; overwrites the gradient."""

    def take(self, rows: list[int]) -> None:
        """Replace the runs by those of `rows`; a row may occur twice, or not at all."""


class Sgd:
    """torch.optim.SGD(momentum=0.9)."""

    def __init__(self) -> None:
        self._velocity: Floats32 | None = None

    def step(self, weights: Floats32, gradient: Floats32, rates: Floats32) -> None:
        """Take one step in place."""
        if self._velocity is None:
            self._velocity = np.zeros_like(weights)
        self._velocity *= np.float32(MOMENTUM)
        self._velocity += gradient
        np.multiply(self._velocity, rates, out=gradient)
        weights -= gradient

    def take(self, rows: list[int]) -> None:
        """Continue with the runs of `rows`."""
        if self._velocity is not None:
            self._velocity = self._velocity[rows]


class AdamW:
    """torch.optim.AdamW at its defaults."""

    def __init__(self) -> None:
        self._mean: Floats32 | None = None
        self._square: Floats32 | None = None
        self._steps = 0

    def step(self, weights: Floats32, gradient: Floats32, rates: Floats32) -> None:
        """Take one step in place."""
        if self._mean is None or self._square is None:
            self._mean, self._square = np.zeros_like(weights), np.zeros_like(weights)
        self._steps += 1
        weights *= 1 - rates * np.float32(DECAY)
        self._mean *= np.float32(BETA1)
        self._mean += np.float32(1 - BETA1) * gradient
        np.multiply(gradient, gradient, out=gradient)
        gradient *= np.float32(1 - BETA2)
        self._square *= np.float32(BETA2)
        self._square += gradient
        spread = np.sqrt(self._square, out=gradient)
        spread *= np.float32(1 / np.sqrt(1 - BETA2**self._steps))
        spread += np.float32(EPS)
        np.divide(self._mean, spread, out=spread)
        spread *= rates / np.float32(1 - BETA1**self._steps)
        weights -= spread

    def take(self, rows: list[int]) -> None:
        """Continue with the runs of `rows`."""
        if self._mean is not None and self._square is not None:
            self._mean, self._square = self._mean[rows], self._square[rows]


OPTIMIZERS: dict[str, type[Sgd | AdamW]] = {"SGD": Sgd, "AdamW": AdamW}
