"""Rows of several logs in one order: which come first, and which steps those without any get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lrwatch.core.sample import Batch, Ints


def placed(batch: Batch, start: float, end: float) -> Batch:
    """Return a batch without steps, with its rows spread evenly over the steps from `start` to `end`."""
    steps = start + (end - start) * np.arange(1, batch.rows + 1) / max(batch.rows, 1)
    return replace(batch, steps=np.floor(steps).astype(np.int64), axis="step", total_steps=0)


def first_useful(batch: Batch, from_row: int, counts: Callable[[str], bool]) -> int | None:
    """Return the step of the first row from `from_row` on with a metric that `counts`; None where there is none."""
    rows = []
    for metric, column in batch.columns.items():
        at = int(np.searchsorted(column.rows, from_row))
        if at < len(column.rows) and counts(metric):
            rows.append(int(column.rows[at]))
    return int(batch.steps[min(rows)]) if rows else None


def up_to(steps: Ints, step: int) -> int:
    """Return how many of the first of `steps` lie at or before `step`."""
    beyond = np.flatnonzero(steps > step)
    return int(beyond[0]) if len(beyond) else len(steps)
