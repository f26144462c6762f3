from __future__ import annotations

import math
import subprocess
from collections import Counter
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from support.example_snapshots import CALM, FULL, WAITING
from support.golden import EXPOSITION, exposition, golden_exposition, scrape

from bench.exposition import LIMIT
from bench.exposition import scrape as scrape_of
from lrwatch._version import __version__
from lrwatch.config import ExportOptions
from lrwatch.core.events import KINDS
from lrwatch.core.snapshot import MetricState, MetricStatus, RunStatus, Snapshot, TrendStatus
from lrwatch.export.collector import MAX_SERIES, MAX_VALUES_PER_RUN, RunCollector, bounded
from lrwatch.export.metrics import METRICS

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Every sample by name and labels; a sample that is served twice fails."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def named(found: Samples, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one metric, by the label values beside `run`."""
    return {tuple(v for k, v in key[1] if k != "run"): value for key, value in found.items() if key[0] == name}


def dropped(text: str) -> float:
    return samples(text)["lrwatch_series_dropped_total", ()]


def test_the_exposition_of_a_full_snapshot_is_the_golden_one() -> None:
    golden = EXPOSITION.read_text(encoding="utf-8")
    assert repr(samples(golden_exposition())) == repr(samples(golden))
    assert golden_exposition() == golden


def test_every_snapshot_metric_is_named_with_help_and_type_even_before_the_first_run() -> None:
    text = exposition(Snapshot(0.0))
    for metric in METRICS:
        if metric.labels:
            kind = "gauge" if metric.type == "info" else metric.type
            assert f"# TYPE {metric.name} {kind}\n" in text
            assert f"# HELP {metric.name} {metric.help}\n" in text


def test_openmetrics_says_the_same() -> None:
    collector = RunCollector()
    collector.publish(FULL)
    registry = CollectorRegistry()
    registry.register(collector)
    found: Samples = {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in openmetrics.text_string_to_metric_families(generate_openmetrics(registry).decode())  # type: ignore[no-untyped-call]
        for s in family.samples
    }
    assert sorted(map(repr, found.items())) == sorted(map(repr, samples(exposition(FULL)).items()))


def test_promtool_finds_nothing_to_complain_about() -> None:
    result = subprocess.run(["promtool", "check", "metrics"], input=exposition(FULL), capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_what_a_run_does_not_have_is_not_served() -> None:
    found = samples(exposition(Snapshot(0.0, (WAITING,))))
    served = {name for name, labels in found if labels}
    assert named(found, "lrwatch_run_up") == {(): 0.0}
    for absent in ("run_step", "run_last_sample_timestamp_seconds", "command_applied_timestamp_seconds"):
        assert f"lrwatch_{absent}" not in served
    assert not any("improvement" in name or "plateau" in name or "lr_effective" in name for name in served)


def test_not_a_number_and_infinity_are_served_as_such() -> None:
    found = samples(exposition(FULL))
    values = named(found, "lrwatch_run_metric_value")
    assert math.isnan(values["val/accuracy",])
    assert values["grad_norm",] == math.inf
    assert named(found, "lrwatch_run_improvement_ratio_lower")["val/accuracy",] == -math.inf


def test_only_metrics_with_a_trend_have_a_plateau_series() -> None:
    assert named(samples(exposition(FULL)), "lrwatch_run_plateau") == {("val/loss",): 1.0, ("val/accuracy",): 0.0}


def test_every_kind_of_finding_starts_at_zero_so_that_its_first_step_is_seen() -> None:
    counts = named(samples(exposition(Snapshot(0.0, (WAITING,)))), "lrwatch_findings_total")
    assert {kind for (kind,) in counts} >= {"plateau", "divergence", "nonfinite", "stalled"}
    assert set(counts.values()) == {0.0}


def test_a_run_that_is_gone_is_gone_from_the_next_scrape() -> None:
    collector = RunCollector()
    collector.publish(FULL)
    assert 'run="resnet"' in scrape(collector)
    collector.publish(Snapshot(1.0, (CALM,)))
    assert 'run="resnet"' not in scrape(collector)


def many_metrics(count: int, name: str = "big") -> RunStatus:
    values = tuple(MetricStatus(f"layer{i}/norm", 1, 1.0) for i in range(count))
    watched = MetricStatus("loss", 1, 2.0, TrendStatus(0.1, 0.05, 0.15, 10.0), watched=True)
    return RunStatus(name=name, mode="observe", metric="loss", metrics=(*values, watched))


def test_a_run_with_too_many_metrics_keeps_the_watched_one_and_the_rest_is_counted() -> None:
    text = exposition(Snapshot(0.0, (many_metrics(MAX_VALUES_PER_RUN + 49), CALM)))
    found = samples(text)
    of_big = [k for k in found if k[0] == "lrwatch_run_metric_value" and dict(k[1])["run"] == "big"]
    assert len(of_big) == MAX_VALUES_PER_RUN
    assert ("lrwatch_run_metric_value", (("metric", "loss"), ("run", "big"))) in found
    assert ("lrwatch_run_metric_value", (("metric", "val/loss"), ("run", "gpt2"))) in found
    assert dropped(text) == 50


def test_a_dropped_series_is_counted_once_a_published_state_however_often_it_is_scraped() -> None:
    collector = RunCollector()
    crowded = Snapshot(0.0, (many_metrics(MAX_VALUES_PER_RUN),))
    collector.publish(crowded)
    assert [dropped(scrape(collector)) for _ in range(3)] == [1, 1, 1]
    collector.publish(Snapshot(1.0, crowded.runs))
    assert dropped(scrape(collector)) == 2
    collector.publish(FULL)
    assert dropped(scrape(collector)) == 2


def fleet(count: int, metrics: int = 5) -> Snapshot:
    """A fleet of runs that are commanded, each with the metric that decides after `metrics` others."""
    return Snapshot(
        0.0,
        tuple(
            replace(CALM, name=f"r{i:05}", metric="loss", metrics=many_metrics(metrics).metrics) for i in range(count)
        ),
    )


def test_the_total_is_bounded_and_no_run_hides_another() -> None:
    runs = tuple(many_metrics(90, name=f"run{i}") for i in range(100))
    collector = RunCollector(5_000)
    collector.publish(Snapshot(0.0, runs))
    found = samples(scrape(collector))
    of_runs = [key for key in found if dict(key[1]).get("run")]
    assert len(of_runs) == 5_000
    up = [key for key in of_runs if key[0] == "lrwatch_run_up"]
    assert len(up) == len(runs)


def test_a_thousand_runs_all_have_what_is_essential() -> None:
    collector = RunCollector()
    collector.publish(fleet(1000))
    found = samples(scrape(collector))
    essential = {metric.name for metric in METRICS if metric.essential}
    decides = [(name, dict(labels)) for name, labels in found if dict(labels).get("metric", "loss") == "loss"]
    of_run = Counter(labels["run"] for name, labels in decides if name in essential)
    assert len(of_run) == 1000
    assert set(of_run.values()) == {53 + len(KINDS)}  # one of them has a series for each kind
    assert len({labels["run"] for name, labels in decides if name == "lrwatch_run_metric_value"}) == 1000


@pytest.mark.parametrize("most", [1000, 3000, 5000])
def test_where_room_is_scarce_all_runs_have_the_same_rows_but_for_the_last_one(most: int) -> None:
    series = bounded(fleet(100), most)
    assert sum(map(len, series.families.values())) == most
    counts = {name: len({key[0] for key in family}) for name, family in series.families.items()}
    in_part = [name for name, count in counts.items() if 0 < count < 100]
    assert len(in_part) <= 1, counts
    assert counts["lrwatch_run_life"] == counts["lrwatch_run_up"] == 100


@pytest.mark.slow
def test_a_scrape_of_ten_thousand_series_costs_little_more_than_the_client_library_itself() -> None:
    own, library, text = scrape_of(10_000)
    assert sum(not line.startswith(b"#") for line in text.splitlines()) >= 10_000
    assert own < LIMIT * library


def test_of_the_metrics_that_do_not_decide_every_run_has_one_before_any_has_two() -> None:
    everything = sum(map(len, bounded(fleet(50, metrics=20), 10**6).families.values()))
    series = bounded(fleet(50, metrics=20), everything - 50 * 13)
    others = Counter(key[0] for key in series.families["lrwatch_run_metric_value"] if key[1] != "loss")
    assert set(others.values()) == {7}


def test_what_a_user_calls_a_run_is_on_its_info_and_nowhere_else() -> None:
    other = replace(WAITING, labels={"team": "vision"})
    text = exposition(Snapshot(0.0, (CALM, other)))
    info = [dict(labels) for name, labels in samples(text) if name == "lrwatch_run_info"]
    assert info == [
        {"run": "gpt2", "metric": "val/loss", "mode": "auto", "owner": "anna", "priority": "high", "team": ""},
        {"run": "resnet", "metric": "", "mode": "suggest", "owner": "", "priority": "", "team": "vision"},
    ]
    assert "anna" not in "".join(line for line in text.splitlines() if not line.startswith("lrwatch_run_info"))


def test_the_setting_has_the_default_of_the_exporter() -> None:
    assert ExportOptions().max_series == MAX_SERIES


HOSTILE = [
    'a"}\nlrwatch_run_up{run="b"} 7',
    "__name__",
    "x" * 1_000_000,
    "\ud800\udfff",
    "\x00\x1b[31m\u202e",
    "\\",
    "",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_one_label_value_and_nothing_else(name: str) -> None:
    run = RunStatus(name=name, mode="auto", metric=name, metrics=(MetricStatus(name, 1, 1.0),), errors={name: 3})
    text = exposition(Snapshot(0.0, (run, CALM)))
    alone = samples(exposition(Snapshot(0.0, (CALM,))))
    found = samples(text)
    assert len(named(found, "lrwatch_run_up")) == 1
    assert {k: v for k, v in found.items() if dict(k[1]).get("run") == "gpt2"}.keys() == {
        k for k in alone if dict(k[1]).get("run") == "gpt2"
    }
    assert all(len(value) <= 128 for _, labels in found for _, value in labels)
    check = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True)
    assert check.returncode == 0, check


def test_two_runs_or_metrics_of_one_name_are_served_once_and_counted() -> None:
    twice = Snapshot(0.0, (WAITING, WAITING))
    one_run = len(samples(exposition(Snapshot(0.0, (WAITING,))))) - 2
    assert dropped(exposition(twice)) == one_run


texts = st.text(st.characters(codec=None), max_size=200)
numbers = st.floats() | st.integers(-(2**63), 2**63 - 1).map(float)
trends = st.builds(TrendStatus, numbers, numbers, numbers, numbers)
states = st.sampled_from(get_args(MetricState))
metrics = st.builds(
    MetricStatus, texts, st.integers(0, 2**63 - 1), numbers, st.none() | trends, st.booleans(), states, texts
)
runs = st.builds(
    RunStatus,
    name=texts,
    mode=texts,
    metric=texts,
    metrics=st.lists(metrics, max_size=5).map(tuple),
    findings=st.dictionaries(texts, st.integers(0, 2**63 - 1), max_size=3),
    schedule_lr=st.dictionaries(texts, numbers, max_size=3),
    errors=st.dictionaries(texts, st.integers(0, 2**63 - 1), max_size=3),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(runs, max_size=4))
def test_whatever_the_runs_are_called_the_exposition_can_be_read_back(some: list[RunStatus]) -> None:
    text = exposition(Snapshot(0.0, tuple(some)))
    found = samples(text)
    assert found["lrwatch_build_info", (("version", __version__),)] == 1.0
    assert {name for name, _ in found} <= {m.name for m in METRICS}
