"""The rule of torch's `ReduceLROnPlateau` at its defaults, so that the demo needs no torch."""

from __future__ import annotations

import math

# The defaults of torch.optim.lr_scheduler.ReduceLROnPlateau: a test compares both value by value.
FACTOR, PATIENCE, THRESHOLD, LEAST_CHANGE = 0.1, 10, 1e-4, 1e-8


class TorchRule:
    """Cuts the learning rate to a tenth once more than ten values in a row brought no new best by 0.01 %.

    Args:
        lr: The learning rate at the start.

    Attributes:
        lr: The learning rate now.

    >>> rule = TorchRule(0.1)
    >>> for _ in range(12):
    ...     rule.step(1.0)
    >>> round(rule.lr, 6)
    0.01
    """

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self._best, self._without_best = math.inf, 0

    def step(self, loss: float) -> None:
        """Take the loss of one evaluation."""
        if loss < self._best * (1 - THRESHOLD):
            self._best, self._without_best = loss, 0
        else:
            self._without_best += 1
        if self._without_best > PATIENCE:
            self._without_best = 0
            if self.lr * (1 - FACTOR) > LEAST_CHANGE:
                self.lr *= FACTOR
