"""NaN and infinities: said at once, and once."""

from __future__ import annotations

import numpy as np
import pytest

from lrwatch.core.detectors.nonfinite import REARM, NonFiniteDetector

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "at"),
    [
        ([1.0, 2.0, -1e308, 5e-324, 0.0], []),
        ([NAN], [0]),
        ([1.0, INF], [1]),
        ([1.0, -INF, NAN, NAN], [1]),
        ([NAN] + (REARM - 1) * [1.0] + [NAN], [0]),
        ([NAN] + REARM * [1.0] + [NAN], [0, REARM + 1]),
        (50 * [1.0, NAN], [1]),
    ],
    ids=["finite", "first", "infinite", "a burst", "back for too short", "back", "every second"],
)
def test_the_first_value_that_is_not_finite_is_said(values: list[float], at: list[int]) -> None:
    detector = NonFiniteDetector("loss")
    found = detector.feed(list(range(0, 10 * len(values), 10)), values)
    assert [index for index, _ in found] == at
    assert [finding.step for _, finding in found] == [10 * i for i in at]
    assert detector.count == np.sum(~np.isfinite(values))


def test_the_finding_names_the_metric_and_what_it_is() -> None:
    ((_, finding),) = NonFiniteDetector("val/loss").feed([7], [-INF])
    assert (finding.kind, finding.metric, finding.step) == ("nonfinite", "val/loss", 7)
    assert finding.message.startswith("val/loss is infinite at step 7")
