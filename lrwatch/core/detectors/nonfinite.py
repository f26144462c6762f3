"""Non-finite: the metric is NaN or infinite.

Immediate and certain: no false alarms by construction. One finding at the first value that is not finite, then silence
until the metric was finite for REARM values in a row, so that a run that is lost says so once and not a million times;
every such value is counted all the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lrwatch.core.events import Finding
from lrwatch.core.sample import Floats, Ints

# A loss that recovered for this long and is then not finite again is news.
REARM = 100


class NonFiniteDetector:
    """Watches one metric of one run.

    >>> import numpy as np
    >>> detector = NonFiniteDetector("loss")
    >>> [i for i, finding in detector.feed(np.arange(5), np.array([2.0, np.nan, np.inf, 1.9, np.nan]))]
    [1]
    >>> detector.count
    3
    """

    def __init__(self, metric: str = "") -> None:
        self._metric = metric
        self._finite_since = REARM
        self.count = 0

    def feed(self, steps: Ints, values: Floats) -> list[tuple[int, Finding]]:
        """Take samples (shape (n,) each). -> what is new, each with the index of the sample that showed it."""
        bad = np.flatnonzero(~np.isfinite(values))
        found: list[tuple[int, Finding]] = []
        previous = -1
        for i in bad.tolist():
            if self._finite_since + (i - previous - 1) >= REARM:
                found.append((i, self._finding(int(steps[i]), float(values[i]))))
            self._finite_since = 0
            self.count += 1
            previous = i
        self._finite_since = min(REARM, self._finite_since + len(values) - previous - 1)
        return found

    def feed_finite(self, count: int) -> None:
        """Take so many samples that are all finite."""
        self._finite_since = min(REARM, self._finite_since + count)

    def _finding(self, step: int, value: float) -> Finding:
        spelled = "NaN" if np.isnan(value) else "infinite"
        return Finding(
            "nonfinite",
            self._metric,
            step,
            {"value": spelled, "before": self.count},
            f"{self._metric or 'the metric'} is {spelled} at step {step}; a lower learning rate will not bring it back, a checkpoint will",
        )

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {"finite_since": self._finite_since, "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self._finite_since, self.count = state["finite_since"], state["count"]
