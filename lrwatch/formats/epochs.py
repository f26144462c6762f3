"""Steps that begin again with each epoch, made steps of the run.

Some trainers number the batches of an epoch (``{"epoch": 2, "iter": 50}``) and do not say how many an epoch has. The first
epoch needs no length; when the epoch rises and the step falls, the largest step of the epochs so far is the length from
there on, and the place of a record is ``(epoch - first) * length + step``. No record is looked at twice, and none that
follows is needed, so a log that is being written is placed as the finished one.

mmengine writes an evaluation with the epoch in the place of the step; it is placed by the last step instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lrwatch.core.sample import Floats, Ints
from lrwatch.formats.columns import Bools, StepAxis


@dataclass(slots=True)
class EpochAxis(StepAxis):
    """A `StepAxis` for logs whose steps may begin again with each epoch.

    Attributes:
        epoch: The last whole epoch of a record that has a step too; -1 before the first.
        largest: The largest step of that epoch.
        length: Steps of an epoch; 0 while the steps never began again.
        first: The number of the first epoch, 0 or 1.
        continuous: Epochs with a fraction were seen beside steps: these steps count the whole run.
    """

    epoch: int = -1
    largest: int = 0
    length: int = 0
    first: int = 1
    continuous: bool = False

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {
            **StepAxis.state(self),  # `super()` does not work in a class with slots
            "epoch": self.epoch,
            "largest": self.largest,
            "length": self.length,
            "first": self.first,
            "continuous": self.continuous,
        }

    def _place(self, steps: Floats, epochs: Floats, has_samples: Bools) -> Ints:
        if not self.continuous and not (np.isnan(epochs).all() and (self.epoch < 0 or np.isnan(steps).all())):
            steps = self._of_the_run(steps, epochs)
        return StepAxis._place(self, steps, epochs, has_samples)

    def _of_the_run(self, steps: Floats, epochs: Floats) -> Floats:
        """The steps as the run counts them; NaN stays NaN."""
        if self._simple(steps, epochs):
            return steps
        return np.array([self._one(*record) for record in zip(steps.tolist(), epochs.tolist(), strict=True)])

    def _simple(self, steps: Floats, epochs: Floats) -> bool:
        """Whether all records have both and the steps never fall, so that they count the run."""
        if self.length or np.isnan(steps).any() or (epochs != np.floor(epochs)).any():  # also where an epoch is NaN
            return False
        if (np.diff(steps) < 0).any() or (self.epoch >= 0 and steps[0] < self.largest):
            return False
        if self.epoch < 0:
            self.first = int(min(epochs[0], 1))
        self.epoch, self.largest = int(epochs[-1]), int(steps[-1])
        return True

    def _one(self, step: float, epoch: float) -> float:
        if step != step or self.continuous:
            return step
        if epoch != epoch:
            is_evaluation = not self.length and step == self.epoch and step < self.largest
            return np.nan if is_evaluation else step
        if not epoch.is_integer():
            # What was placed stays; from now on the steps are taken as they are.
            self.continuous = True
            return step
        if self.epoch < 0:
            self.first = int(min(epoch, 1))
        elif epoch > self.epoch and step < self.largest:
            self.length = max(self.length, self.largest + (step == 0))
        if epoch == self.epoch:
            self.largest = max(self.largest, int(step))
        else:
            self.epoch, self.largest = int(epoch), int(step)
        return (epoch - self.first) * self.length + step if self.length else step
