"""A training whose loss answers to its learning rate at once and exactly: the noise floor is proportional to the scale."""

from __future__ import annotations

import json

import numpy as np

_NOISE = np.random.default_rng(11).standard_normal(200_000)

# Steps in which the loss goes most of its way to the floor.
_TIME = 35.0


class Training:
    """A training whose steps depend only on their number and the scales so far.

    Attributes:
        scale: The multiplier on the learning rate, which a test sets.
        done: Number of finished steps.
    """

    def __init__(self, lr: float = 0.1, time: float = _TIME) -> None:
        self._time = time
        self.scale = 1.0
        self.done = 0
        self._lr = lr
        self._level = 10.0

    def record(self) -> dict[str, float]:
        """Take one step. Return its record in a log."""
        floor = 1.0 + self.scale
        self._level += (floor - self._level) / self._time
        loss = self._level + 0.01 * float(_NOISE[self.done])
        self.done += 1
        return {"step": self.done, "loss": round(loss, 6), "lr": self._lr * self.scale}

    def lines(self, count: int, *keys: str) -> str:
        """Take `count` steps. Return them as JSON lines with all keys, or the given ones."""
        records = [self.record() for _ in range(count)]
        return "".join(json.dumps({key: r[key] for key in keys or r}) + "\n" for r in records)
