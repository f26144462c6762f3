"""No sample for longer than this run ever took."""

from __future__ import annotations

import json

import pytest

from lrwatch.core.detectors.base import Poll
from lrwatch.core.detectors.stalled import GAPS, LEAST, MIN_GAPS, TIMES, StalledDetector
from lrwatch.core.events import Finding


def arrive(detector: StalledDetector, time: float) -> None:
    """Samples come at `time`."""
    assert detector.feed([0], [Poll(time, arrived=True)]) == []


def poll(detector: StalledDetector, now: float, step: int = 1) -> Finding | None:
    """Nothing new at `now`; what is reported then."""
    found = detector.feed([step], [Poll(now, arrived=False)])
    return found[0][1] if found else None


def paced(gap: float, count: int = 20) -> StalledDetector:
    """Samples came every `gap` seconds, the last at second 0."""
    detector = StalledDetector()
    for i in range(count):
        arrive(detector, (i + 1 - count) * gap)
    return detector


@pytest.mark.parametrize("gap", [0.1, 5.0, 30.0, 3600.0])
def test_a_run_is_stalled_after_many_of_its_own_gaps_and_not_before_a_minute(gap: float) -> None:
    detector = paced(gap)
    after = max(LEAST, TIMES * gap)
    assert poll(detector, after, 7) is None
    finding = poll(detector, after + 1, 7)
    assert finding is not None
    assert (finding.kind, finding.step, finding.evidence["silent_seconds"]) == ("stalled", 7, after + 1)
    assert poll(detector, after + 1000, 7) is None


def test_it_is_said_again_after_samples_came() -> None:
    detector = paced(10.0)
    assert poll(detector, 500.0, 1) is not None
    arrive(detector, 600.0)
    assert poll(detector, 700.0, 1) is None
    assert poll(detector, 600.0 + 2 * 600.0 + 1, 1) is not None


def test_a_run_that_came_back_from_a_long_wait_may_wait_twice_as_long() -> None:
    detector = paced(1.0)
    arrive(detector, 300.0)
    for i in range(2 * GAPS):
        arrive(detector, 301.0 + i)
    assert poll(detector, 301.0 + 2 * GAPS - 1 + 600.0, 1) is None
    assert poll(detector, 301.0 + 2 * GAPS - 1 + 601.0, 1) is not None


def test_without_a_pace_of_its_own_nothing_is_said() -> None:
    assert poll(StalledDetector(), 1e9) is None
    assert poll(paced(1.0, MIN_GAPS), 1e9) is None
    assert poll(paced(1.0, MIN_GAPS + 1), 1e9) is not None
    paused = paced(1.0)
    paused.paused()
    assert poll(paused, 1e9, 0) is None
    arrive(paused, 1e9)
    assert paused.patience == LEAST


def test_a_clock_that_is_set_back_is_no_gap() -> None:
    detector = paced(1.0)
    arrive(detector, -1e6)
    assert detector.patience == LEAST
    assert poll(detector, -1e6 + LEAST, 1) is None


def test_restored_from_its_state_it_goes_on_the_same() -> None:
    detector = paced(7.0)
    fresh = StalledDetector()
    fresh.restore(json.loads(json.dumps(detector.state())))
    assert fresh.state() == detector.state()
    assert poll(fresh, 200.0, 3) == poll(detector, 200.0, 3) is not None
