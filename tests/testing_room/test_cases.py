"""The runs with known truth: the truth is what it says, and what lrwatch says of them."""

from __future__ import annotations

import numpy as np
import pytest

from lrwatch.core.events import Event, Finding
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.run import Run
from lrwatch.core.sample import Batch, Column
from lrwatch.testing import CASES, Case, Log, NoisyQuadratic, final_risk
from lrwatch.testing.cases import ASKED, HORIZON
from lrwatch.testing.quadratic import hindsight

SEEDS = range(3)


def batch(log: Log) -> Batch:
    """The log as one read, its metrics side by side at each step."""
    rows: dict[int, int] = {}
    lengths = {len(series.steps) for series in log.metrics.values()}
    if len(lengths) == 1:  # the same rows
        steps = next(iter(log.metrics.values())).steps
        columns = {name: Column(np.arange(len(steps)), series.values) for name, series in log.metrics.items()}
        return Batch(steps, columns)
    steps = np.unique(np.concatenate([series.steps for series in log.metrics.values()]))
    rows = {int(step): row for row, step in enumerate(steps)}
    columns = {
        name: Column(np.array([rows[step] for step in series.steps.tolist()]), series.values)
        for name, series in log.metrics.items()
    }
    return Batch(steps, columns)


def found(case: Case, log: Log) -> list[Finding]:
    detect = DetectOptions(case.horizon, case.min_improvement, case.relative, case.direction)
    events: list[Event] = Run(detect, PolicyOptions(mode="observe")).feed(batch(log))
    return [event for event in events if isinstance(event, Finding)]


def test_every_case_of_the_list_is_there() -> None:
    assert {case.number for case in CASES.values()} == set(range(1, 27))
    assert len(CASES) > 60


@pytest.mark.parametrize("name", CASES)
def test_the_same_seed_gives_the_same_log_and_another_another(name: str) -> None:
    case = CASES[name]
    for metric, series in case.make(1).metrics.items():
        again, other = case.make(1).metrics[metric], case.make(2).metrics[metric]
        assert np.array_equal(series.values, again.values, equal_nan=True)
        assert len(series.steps) == len(series.values)
        assert metric == "lr" or not np.array_equal(series.values, other.values, equal_nan=True)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.disclaimed])
def test_what_is_found_is_right_and_not_early(name: str) -> None:
    case = CASES[name]
    for seed in SEEDS:
        log = case.make(seed)
        findings = found(case, log)
        assert {finding.kind for finding in findings} <= log.expected | log.allowed, findings
        for finding in findings:
            if finding.kind == "plateau" and log.flat_from is not None:
                assert finding.step >= log.flat_from
        assert log.expected <= {finding.kind for finding in findings}


def test_flat_means_that_the_mean_improves_by_less_than_asked_over_every_horizon_from_there() -> None:
    runs = [case.make(0) for case in CASES.values() if case.number in (16, 17, 20)]
    for log in runs:
        assert log.flat_from is not None
        values = log.metrics["loss"].values
        before, after = values[log.flat_from - HORIZON // 2 : log.flat_from], values[log.flat_from + HORIZON :]
        assert before.mean() - after[:HORIZON].mean() < 3 * ASKED
        assert abs(after[:HORIZON].mean() - after[-HORIZON:].mean()) < ASKED


def test_in_closed_loop_a_rate_that_falls_beats_one_that_does_not() -> None:
    steps = 2000
    constant, by_hand = final_risk(lambda _: 1.0, steps), final_risk(lambda i: 1.0 if i < steps // 2 else 0.1, steps)
    assert hindsight(steps) < by_hand < constant / 3
    assert final_risk(lambda _: 3.0, steps) > 1000  # beyond what the steepest direction bears
    training = NoisyQuadratic(seed=1)
    seen = [training.observe() for _ in range(1000)]
    assert np.mean(seen) == pytest.approx(training.risk + 0.1, rel=0.01)
