"""Non-finite: the metric is NaN or infinite.

Immediate and certain: no false alarms by construction. One finding at the first value that is not finite, then silence
until the metric was finite for REARM values in a row, so that a run that is lost says so once and not a million times;
every such value is counted all the same.
"""

from __future__ import annotations

import math

import numpy as np

from lrwatch.core.detectors.base import Detector
from lrwatch.core.events import Finding

# A loss that recovered for this long and is then not finite again is news.
REARM = 100


class NonFiniteDetector(Detector[float]):
    """Watches one metric of one run.

    >>> detector = NonFiniteDetector("loss")
    >>> nan, inf = float("nan"), float("inf")
    >>> [index for index, finding in detector.feed([0, 1, 2, 3, 4], [2.0, nan, inf, 1.9, nan])]
    [1]
    >>> detector.count
    3

    Attributes:
        count: Number of values that were not finite.
    """

    KIND = "nonfinite"
    SCOPE = "log"
    FINITE_ONLY = False
    MAX_STATE_BYTES = 100
    SAVED = ("_finite_since", "count")

    def restart(self) -> None:
        """See `Detector.restart`."""
        self._finite_since = REARM
        self.count = 0

    def feed(self, steps: list[int], values: list[float]) -> list[tuple[int, Finding]]:
        """See `Detector.feed`."""
        if math.isfinite(sum(values)):  # so all of them are, as nearly always
            self._finite_since = min(REARM, self._finite_since + len(values))
            return []
        found: list[tuple[int, Finding]] = []
        previous = -1
        for i in np.flatnonzero(~np.isfinite(values)).tolist():
            if self._finite_since + (i - previous - 1) >= REARM:
                found.append((i, self._report(steps[i], values[i])))
            self._finite_since = 0
            self.count += 1
            previous = i
        self._finite_since = min(REARM, self._finite_since + len(values) - previous - 1)
        return found

    def _report(self, step: int, value: float) -> Finding:
        spelled = "NaN" if math.isnan(value) else "infinite"
        return self._finding(
            step,
            {"value": spelled, "before": self.count},
            f"{self._name} is {spelled} at step {step:,}; a lower learning rate cannot repair that; go back to a checkpoint",
        )
