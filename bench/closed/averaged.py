"""Runs that are measured at an average of their weights, as `attach(..., average=)` keeps one."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.closed.trainings import Networks
from lrwatch.core.sample import Floats

# Half-life of the average, as a share of the steps so far.
HALF_LIFE = 0.125


class Averaged:
    """Runs of a network whose final loss is that of their averaged weights. What is logged is the loss of the weights.

    Args:
        runs: The runs, at their start.
    """

    def __init__(self, runs: Networks) -> None:
        self._runs = runs
        self._averages = runs.weights.copy()
        self._steps = 0

    def step(self, rates: Floats) -> Floats:
        """Take one step of each run, and average."""
        losses = self._runs.step(rates)
        self._steps += 1
        share = 1 - 0.5 ** (1 / (HALF_LIFE * self._steps))  # as in lrwatch.client.average
        with np.errstate(all="ignore"):
            self._averages += np.float32(share) * (self._runs.weights - self._averages)
        return losses

    def take(self, rows: list[int]) -> None:
        """Continue with the runs of `rows`."""
        self._runs.take(rows)
        self._averages = self._averages[rows]

    def saved(self, row: int) -> Any:
        """Return a copy of a run and of its average."""
        return self._runs.saved(row), self._averages[row].copy()

    def restore(self, row: int, saved: Any) -> None:
        """Give a run the state that `saved` returned."""
        run, self._averages[row] = saved
        self._runs.restore(row, run)

    def final(self) -> Floats:
        """Return the mean loss of the averaged weights over the evaluated sample."""
        weights, self._runs.weights = self._runs.weights, self._averages
        losses = self._runs.final()
        self._runs.weights = weights
        return losses
