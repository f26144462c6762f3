"""SGD with momentum and AdamW on many trainings at once, each with its own learning rate; otherwise as in torch."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from bench.closed.data import Floats32

MOMENTUM = 0.9

# Defaults of torch's AdamW.
BETA1, BETA2, EPS, DECAY = 0.9, 0.999, 1e-8, 0.01


class Optimizer(ABC):
    """Optimizer of weights of shape (runs, size) with rates of shape (runs, 1)."""

    def __init__(self) -> None:
        self._state: dict[str, Floats32] = {}  # of each name, a row for each run

    @abstractmethod
    def step(self, weights: Floats32, gradient: Floats32, rates: Floats32) -> None:
        """Take one step in place; overwrites the gradient."""

    def take(self, rows: list[int]) -> None:
        """Replace the runs by those of `rows`; a row may occur twice, or not at all."""
        self._state = {name: values[rows] for name, values in self._state.items()}

    def saved(self, row: int) -> dict[str, Floats32]:
        """Return a copy of the state of a run that has taken a step."""
        return {name: values[row].copy() for name, values in self._state.items()}

    def restore(self, row: int, saved: dict[str, Floats32]) -> None:
        """Give a run the state that `saved` returned."""
        for name, values in saved.items():
            self._state[name][row] = values


class Sgd(Optimizer):
    """torch.optim.SGD(momentum=0.9)."""

    def step(self, weights: Floats32, gradient: Floats32, rates: Floats32) -> None:
        """Take one step in place."""
        if not self._state:
            self._state["velocity"] = np.zeros_like(weights)
        velocity = self._state["velocity"]
        velocity *= np.float32(MOMENTUM)
        velocity += gradient
        np.multiply(velocity, rates, out=gradient)
        weights -= gradient


class AdamW(Optimizer):
    """torch.optim.AdamW at its defaults."""

    def step(self, weights: Floats32, gradient: Floats32, rates: Floats32) -> None:
        """Take one step in place."""
        if not self._state:
            steps = np.zeros((len(weights), 1), np.float32)
            self._state = {"mean": np.zeros_like(weights), "square": np.zeros_like(weights), "steps": steps}
        mean, square, steps = self._state["mean"], self._state["square"], self._state["steps"]
        steps += 1
        weights *= 1 - rates * np.float32(DECAY)
        mean *= np.float32(BETA1)
        mean += np.float32(1 - BETA1) * gradient
        np.multiply(gradient, gradient, out=gradient)
        gradient *= np.float32(1 - BETA2)
        square *= np.float32(BETA2)
        square += gradient
        spread = np.sqrt(square, out=gradient)
        spread *= (1 / np.sqrt(1 - BETA2 ** steps.astype(np.float64))).astype(np.float32)
        spread += np.float32(EPS)
        np.divide(mean, spread, out=spread)
        spread *= rates / (1 - BETA1 ** steps.astype(np.float64)).astype(np.float32)
        weights -= spread


OPTIMIZERS: dict[str, type[Optimizer]] = {"SGD": Sgd, "AdamW": AdamW}
