"""Steps of an epoch, as the column of epochs in a log shows them.

Where the same data come again, a loss may move within an epoch and jump where the next one begins. A window that is shorter sees one
side of that only, so horizons and trials last whole epochs once the length of one is known: see `Horizon.steps`.

The length is the distance between two rows in which the number of the epoch rises, over the epochs between them. Epochs may be whole
numbers or fractions. The row at which a length becomes known, or turns out to be another one, depends on the rows before it alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import role
from lrwatch.core.sample import Batch

# A length that differs by less is the same: rows come every so many steps, so the first row of an epoch is not its first step.
SAME = 0.1


class EpochSteps(NamedTuple):
    """From `row` on an epoch is known to have `steps` steps."""

    row: int
    steps: int


class EpochLength(Checkpointed):
    """The length of an epoch of one run.

    Args:
        configured: Steps of an epoch by the settings, which the log does not change; 0 where it is to be found.

    Attributes:
        steps: Steps of an epoch; 0 while they are unknown.

    >>> from lrwatch.core.sample import Column
    >>> rows = np.arange(6)
    >>> epochs = Column(rows, np.array([1.0, 1.0, 2.0, 2.0, 3.0, 3.0]))
    >>> EpochLength().find(Batch(np.array([50, 100, 150, 200, 250, 300]), {"epoch": epochs}))
    [EpochSteps(row=4, steps=100)]
    """

    SAVED = ("steps", "_column", "_epoch", "_since")

    def __init__(self, configured: int = 0) -> None:
        self._configured = configured
        self.steps = configured
        self._column: str | None = None
        self._epoch: int | None = None
        # Step and epoch of the first row that began an epoch.
        self._since: list[int] | None = None

    def find(self, batch: Batch) -> list[EpochSteps]:
        """Return where the rows of `batch` show the length of an epoch, or another one, in log order."""
        if self._configured or batch.axis != "step" or not batch.columns:
            return []
        if self._column is None:
            self._column = next((name for name, _ in batch.by_first_row() if role(name) == "epoch"), None)
        column = batch.columns.get(self._column or "")
        if column is None or not len(column.rows):
            return []
        with np.errstate(invalid="ignore"):
            whole = np.floor(column.values)
        usable = np.isfinite(whole) & (np.abs(whole) < 2**31)
        epochs, rows = whole[usable].astype(np.int64), column.rows[usable]
        if not len(epochs):
            return []
        before = epochs[0] if self._epoch is None else self._epoch
        moved = np.flatnonzero(np.diff(epochs, prepend=before))
        self._epoch = int(epochs[-1])
        found = [self._began(int(rows[i]), int(batch.steps[rows[i]]), int(epochs[i])) for i in moved.tolist()]
        return [one for one in found if one is not None]

    def _began(self, row: int, step: int, epoch: int) -> EpochSteps | None:
        """Take a row that begins an epoch. Return the length that it shows, if that is news."""
        since = self._since
        if since is None or step <= since[0] or epoch <= since[1]:  # the first one, or the log went back
            self._since = [step, epoch]
            return None
        steps = round((step - since[0]) / (epoch - since[1]))
        if steps < 1 or abs(steps - self.steps) <= SAME * self.steps:
            return None
        self.steps = steps
        return EpochSteps(row, steps)
