"""Runs with known truth: the truth holds, and the findings of lrwatch agree with it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from lrwatch.core.events import Event, Finding
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.sample import Floats
from lrwatch.testing import CASES, Case, Span, SyntheticLog
from lrwatch.testing.synthetic.catalog import HORIZON, MIN_IMPROVEMENT

SEEDS = range(3)
HELD = [name for name, case in CASES.items() if not case.disclaimed]


def found(log: SyntheticLog) -> list[Finding]:
    events: list[Event] = Pipeline(log.required, PolicyOptions(mode="observe")).feed(log.batch())
    return [event for event in events if isinstance(event, Finding)]


def test_every_case_of_the_list_is_there() -> None:
    assert {case.number for case in CASES.values()} == set(range(1, 27))
    assert len(CASES) > 75
    assert all(case.name == name for name, case in CASES.items())


@pytest.mark.parametrize("name", CASES)
def test_the_same_seed_gives_the_same_log_and_another_another(name: str) -> None:
    case = CASES[name]
    one, again, other = case.make(1), case.make(1), case.make(2)
    for metric, series in one.metrics.items():
        assert np.array_equal(series.values, again.metrics[metric].values, equal_nan=True)
        assert len(series.steps) == len(series.values)
        assert metric == "lr" or not np.array_equal(series.values, other.metrics[metric].values, equal_nan=True)


def falls_short(case: Case, mean: Floats, required: DetectOptions) -> Floats:
    """Return by how much each step falls short of the required improvement, by the definition, one step at a time."""
    short = []
    for before, after in zip(mean.tolist(), mean.tolist()[1:], strict=False):
        better = before - after if case.direction == "min" else after - before
        due = required.min_improvement / float(required.horizon) * (abs(before) if required.relative else 1.0)
        short.append((due - better) / due)
    return np.array(short)


@pytest.mark.parametrize("name", [name for name in HELD if name != "a million values"])
def test_the_mean_is_flat_from_the_stated_step_and_not_before(name: str) -> None:
    case = CASES[name]
    log = case.make(1)
    assert log.flat_from.keys() == log.means.keys()
    for metric, since in log.flat_from.items():
        short = falls_short(case, log.means[metric], log.required)
        if since is None:
            assert short[-1] < 1e-5
        else:
            assert (short[since:] > 1e-5).all()
            assert since == 0 or short[since - 1] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in HELD if CASES[name].null])
@pytest.mark.parametrize(("n", "horizon"), [(None, None), (6000, 500.0), (20_000, 2000.0)])
def test_a_healthy_mean_improves_as_required_over_every_horizon(
    name: str, n: int | None, horizon: float | None
) -> None:
    case = CASES[name]
    if case.n != CASES["white"].n:
        n = horizon = None
    log = case.make(2, n=n, horizon=horizon)
    assert set(log.flat_from.values()) == {None}
    assert "plateau" not in log.expected
    stride = int(float(log.required.horizon))
    for mean in log.means.values():
        better = (mean[:-stride] - mean[stride:]) * (1 if case.direction == "min" else -1)
        due = log.required.min_improvement * (np.abs(mean[stride:]) if log.required.relative else 1.0)
        short = np.flatnonzero(better < due * (1 - 1e-6))
        assert len(short) == 0 or (name == "level shift up" and len(short) <= stride)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.null])
def test_a_faulty_log_names_the_findings_that_are_right_and_their_steps(name: str) -> None:
    log = CASES[name].make(1)
    assert log.expected
    for first, last in log.expected.values():
        assert 0 <= first <= last < CASES[name].n


def residuals(log: SyntheticLog) -> Iterator[Floats]:
    for metric, mean in log.means.items():
        series = log.metrics[metric]
        yield series.values - mean[series.steps]


@pytest.mark.parametrize("name", [name for name in HELD if CASES[name].number not in (18, 20, 22, 23)])
def test_around_the_mean_there_is_noise_and_no_more(name: str) -> None:
    for left in residuals(CASES[name].make(3)):
        ordered = np.sort(left)
        size = ordered[int(0.84 * len(left))] - ordered[int(0.16 * len(left))]
        assert abs(float(np.median(left))) <= size / 2


@pytest.mark.parametrize(
    ("name", "correlation"),
    [("white", 0.0), ("autoregressive 0.5", 0.5), ("autoregressive 0.99", 0.99), ("smoothed 0.98", 0.98)],
)
def test_noise_of_a_case_has_the_correlation_of_its_name(name: str, correlation: float) -> None:
    (left,) = residuals(CASES[name].make(3, n=100_000))
    assert np.corrcoef(left[1:], left[:-1])[0, 1] == pytest.approx(correlation, abs=0.02)
    assert left.std() == pytest.approx(MIN_IMPROVEMENT, rel=0.15)


def test_a_run_of_another_size_is_the_same_curve() -> None:
    case = CASES["sharp plateau, mid"]
    longer, other, twice = (
        case.make(1, n=24_000),
        case.make(1, horizon=2000.0),
        case.make(1, min_improvement=2 * MIN_IMPROVEMENT),
    )
    assert (longer.required.horizon, other.required.horizon) == (2 * HORIZON, 2000.0)
    assert (longer.flat_from, other.flat_from) == ({"loss": 12_000}, {"loss": 6000})
    assert longer.means["loss"][::2] == pytest.approx(case.make(1).means["loss"], abs=1e-3)
    assert np.array_equal(twice.metrics["loss"].values, 2 * case.make(1).metrics["loss"].values)


def test_the_truth_depends_on_the_required_improvement() -> None:
    log = CASES["gradual plateau"].make(1)
    since = [log.truth(DetectOptions(1000, delta, relative=False))["loss"] for delta in (0.2, 0.1, 0.05)]
    # 4 e^(-i/1200) / 1200 * 1000 = delta
    assert since == pytest.approx([1200 * np.log(4 / 1.2 / delta) for delta in (0.2, 0.1, 0.05)], abs=2)
    tenth = log.truth(DetectOptions("10%", 0.005))["loss"]
    assert tenth is not None
    mean = log.means["loss"]
    assert mean[tenth - 1] - mean[tenth] >= 0.005 * mean[tenth - 1] / (0.1 * tenth)
    assert mean[tenth] - mean[tenth + 1] < 0.005 * mean[tenth] / (0.1 * (tenth + 1))


def test_two_metrics_have_truths_of_their_own_and_findings_are_right_of_one_alone() -> None:
    log = CASES["validation flat while training improves"].make(1)
    assert log.flat_from == {"loss": None, "val_loss": 6000}
    right = {
        (metric, step): log.is_right(Finding("plateau", metric, step, {}, ""))
        for metric in ("loss", "val_loss", "lr")
        for step in (5999, 6000, 11_999)
    }
    assert [where for where, ok in right.items() if ok] == [("val_loss", 6000), ("val_loss", 11_999)]
    assert not log.is_right(Finding("divergence", "val_loss", 9000, {}, ""))
    assert log.is_right(Finding("too_slow", "loss", 9000, {}, ""))


def test_logs_are_as_untidy_as_their_names_say() -> None:
    def steps(name: str) -> Floats:
        return CASES[name].make(0).metrics["loss"].steps.astype(np.float64)

    assert (np.diff(steps("resume with a rewind")) < 0).sum() == 1
    assert {0.0, 1.0, 2.0} <= set(np.diff(steps("steps twice and missing")).tolist())
    gaps = np.diff(steps("irregular intervals"))
    assert gaps[-1000:].mean() > 3 * gaps[:1000].mean()
    assert np.unique(steps("ranks that take turns"), return_counts=True)[1].tolist() == [4] * 3000
    two = CASES["two cadences"].make(0).metrics
    assert len(two["loss"].steps) == 20 * len(two["val_loss"].steps)
    times = CASES["a clock that jumps"].make(0).metrics["loss"].times
    assert times is not None
    assert sorted(set(np.diff(times).tolist())) == [-3599.0, 1.0, 86_401.0]
    spikes = CASES["single spikes"].make(0)
    (left,) = residuals(spikes)
    assert spikes.expected["spike"] == Span(int(np.argmax(left > 3)), int(np.flatnonzero(left > 3)[-1]) + 400)
    assert (left > 3).sum() == 3


def test_a_log_as_json_lines_says_the_same() -> None:
    for name in ("bursts of infinities", "two cadences", "a clock that jumps", "resume with a rewind"):
        log = CASES[name].make(0)
        records = [json.loads(line) for line in log.json_lines().splitlines()]
        assert len(records) == log.batch().rows
        for metric, series in log.metrics.items():
            rows = [record for record in records if metric in record]
            assert [record["step"] for record in rows] == series.steps.tolist()
            assert [record[metric] for record in rows] == series.values.tolist()
            if series.times is not None:
                assert [record["time"] for record in rows] == series.times.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", HELD)
def test_what_lrwatch_finds_is_right_and_complete(name: str) -> None:
    for seed in range(1) if name == "a million values" else SEEDS:
        log = CASES[name].make(seed)
        findings = found(log)
        assert [finding for finding in findings if not log.is_right(finding)] == []
        assert log.expected.keys() <= {finding.kind for finding in findings}
