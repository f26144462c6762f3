"""A detector of one's own, held to what every detector of lrwatch promises.

The rule is that of `ReduceLROnPlateau`: a plateau is PATIENCE values without a new best. It errs often on noisy losses; see
`bench/detect`. CONTRIBUTING.md says how a detector becomes part of lrwatch.
"""

import math

import numpy as np

from lrwatch.core.detectors.base import Detector
from lrwatch.core.events import Finding
from lrwatch.testing import check_detector

PATIENCE = 200


class NoNewBest(Detector[float]):
    """Report a plateau after PATIENCE values without a new best."""

    KIND = "plateau"
    SAVED = ("_best", "_waited")  # all that a restart needs, JSON-plain

    def restart(self) -> None:
        """Forget everything: what comes does not compare."""
        self._best = math.inf
        self._waited = 0

    def feed(self, steps: list[int], values: list[float]) -> list[tuple[int, Finding]]:
        """Take samples in log order. Return findings, each with the index of the sample that led to it."""
        found = []
        for index, (step, value) in enumerate(zip(steps, values, strict=True)):
            value *= self._sign  # smaller is better from here on
            if value < self._best:
                self._best, self._waited = value, 0
            else:
                self._waited += 1
            if self._waited == PATIENCE:
                message = f"{self._name} has no new best in {PATIENCE} values"
                found.append((index, self._finding(step, {"best": self._sign * self._best}, message)))
        return found


check_detector(NoNewBest)  # any cutting into calls, restarts, bounded state, units
print("NoNewBest keeps the promises of a detector")

rng = np.random.default_rng(0)
loss = 2 + np.maximum(0, 1 - np.arange(3000) / 1000) + 0.01 * rng.standard_normal(3000)
for _, finding in NoNewBest("loss").feed(list(range(3000)), loss.tolist()):
    print(f"step {finding.step}: {finding.message}")
