"""Segments of a log: where another run begins in it. Appended logs, resumes, boosters one after the other.

The sign is that the steps of a metric go back. One resume shows in every metric, later in those that are written less
often; so what goes back where its last value still lies before the newest segment tells nothing new.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lrwatch.core.names import primary, role
from lrwatch.core.sample import Ints


def rewinds(steps: Ints) -> Ints:
    """Return the indices at which `steps`, shape (n,), falls below the step before.

    >>> rewinds(np.array([1, 2, 2, 1, 5])).tolist()
    [3]
    """
    return np.flatnonzero(np.diff(steps) < 0) + 1


def segments(steps: Ints, rows: Mapping[str, Ints]) -> list[int]:
    """Return the rows at which the segments of a log begin; the first is 0.

    Losses decide, and where there are none the other metrics. What both the training and the evaluation write, such as
    the epoch, may go back and forth within one run.

    Args:
        steps: Step of each row, shape (n,).
        rows: Metric to the rows that have it, ascending.

    >>> segments(np.array([1, 2, 3, 2, 3]), {"loss": np.array([0, 1, 2, 3]), "val_loss": np.array([2, 4])})
    [0, 3]
    """
    losses = [name for name in rows if role(name) in ("train_loss", "val_loss")]
    watched = losses or [name for name in rows if name == primary(rows)] or [n for n in rows if role(n) == "other"]
    back: list[tuple[int, int]] = []
    for name in watched:
        at = rows[name]
        back.extend((int(at[i]), int(at[i - 1])) for i in rewinds(steps[at]))
    begins = [0]
    for row, before in sorted(back):
        if before >= begins[-1]:
            begins.append(row)
    return begins
