"""Steps of the run, from steps that restart with each epoch.

Some trainers number the batches of an epoch (``{"epoch": 2, "iter": 50}``) without the length of an epoch. The first
epoch needs no length. When the epoch rises and the step falls, the largest step of the epochs so far becomes the
length, and the place of a record is ``(epoch - first) * length + step``. Each record is placed once and needs none that
follows, so a log that is being written is placed as the finished one.

mmengine writes an evaluation with the epoch in the place of the step; the last step places it instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lrwatch.core.sample import Column, Floats, Ints
from lrwatch.formats.columns import Bools, StepAxis


@dataclass
class EpochAxis(StepAxis):
    """A `StepAxis` for logs whose steps may restart with each epoch.

    Attributes:
        epoch: The last whole epoch of a record that has a step too; -1 before the first.
        largest: The largest step of that epoch.
        length: Steps of an epoch; 0 while the steps have never restarted.
        first: Number of the first epoch, 0 or 1.
        continuous: There were epochs with a fraction beside steps: these steps count the whole run.
    """

    SAVED: ClassVar[tuple[str, ...]] = (*StepAxis.SAVED, "epoch", "largest", "length", "first", "continuous")

    epoch: int = -1
    largest: int = 0
    length: int = 0
    first: int = 1
    continuous: bool = False

    def _placed_at_once(
        self, count: int, columns: Mapping[str, Column], step_names: Sequence[str], metric_names: Sequence[str]
    ) -> Ints | None:
        if self.epoch >= 0 and not self.continuous:  # the steps may be those of an epoch
            return None
        return super()._placed_at_once(count, columns, step_names, metric_names)

    def _place(self, steps: Floats, epochs: Floats, has_samples: Bools) -> Ints:
        if not self.continuous and not (np.isnan(epochs).all() and (self.epoch < 0 or np.isnan(steps).all())):
            steps = self._of_the_run(steps, epochs)
        return super()._place(steps, epochs, has_samples)

    def _of_the_run(self, steps: Floats, epochs: Floats) -> Floats:
        """Return the steps of the run; NaN stays NaN."""
        if self._simple(steps, epochs):
            return steps
        return np.array([self._one(*record) for record in zip(steps.tolist(), epochs.tolist(), strict=True)])

    def _simple(self, steps: Floats, epochs: Floats) -> bool:
        """Return whether all records have both and the steps never fall; they are steps of the run then."""
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
            # Records that were placed stay; from now on the steps are taken as they are.
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
