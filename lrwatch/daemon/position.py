"""The place in the samples of an input from outside, journalled with it, so that decisions can be computed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Batch

FROM_OUTSIDE = frozenset({"hello", "acknowledged", "rejected", "operator", "command", "settings"})
"""Events of the journal that carry `heard`, the position among the samples at which they came."""


class SamplePosition(Checkpointed):
    """Counter of the values of each metric with detectors.

    A step would not do: it goes back when a training resumes.
    """

    SAVED: ClassVar[tuple[str, ...]] = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, batch: Batch, metrics: Iterable[str]) -> None:
        """Count the samples of a batch that the pipeline has taken."""
        for name in metrics:
            if (column := batch.columns.get(name)) is not None:
                self._counts[name] += len(column.values)

    def at(self, metric: str | None) -> dict[str, Any]:
        """Return the present position, by the watched metric, as JSON-plain values."""
        return {"metric": metric, "values": self._counts[metric] if metric is not None else 0}

    def rows_before(self, batch: Batch, heard: Mapping[str, Any]) -> int | None:
        """Return how many rows of `batch` lie before a position; None where it lies behind the batch."""
        missing = heard["values"] - self._counts[heard["metric"]]
        if missing <= 0:
            return 0
        column = batch.columns.get(heard["metric"])
        if column is None or len(column.values) < missing:
            return None
        return int(column.rows[missing - 1]) + 1
