"""A snapshot as Prometheus sample families, bounded in number.

Values are proxied, not instrumented: what is absent from the snapshot is absent from the next scrape, and Prometheus
marks it stale at once. No sample carries a timestamp.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client import metrics_core
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from lrwatch._version import __version__
from lrwatch.core.events import CAUSES, KINDS, Verdict
from lrwatch.core.snapshot import RunStatus, Snapshot, TrendState
from lrwatch.export import metrics
from lrwatch.export.labels import label_value
from lrwatch.export.metrics import Metric
from lrwatch.protocol import RejectionCode

# Beyond 100 values of one label Prometheus' guidelines ask for another design. A log with more metrics than that (one
# per layer, say) still has its watched metrics served first.
MAX_VALUES_PER_RUN = 100

# 5,000 series cost one scrape about 45 ms and 0.3 MB, far below the usual timeout of 10 s, on a machine that has a
# training to do. It is room for 100 runs with a dozen metrics each.
MAX_SERIES = 5_000

Series = tuple[Metric, tuple[str, ...], float]
"""A metric, its label values in the order of `Metric.labels`, and the sample's value."""


def one_of_each(run: RunStatus) -> Iterator[Series]:
    """The series that every run has at most once."""
    name = (label_value(run.name),)
    yield metrics.RUN_INFO, (*name, label_value(run.metric), label_value(run.mode)), 1.0
    yield metrics.RUN_STRATEGY, (*name, label_value(run.strategy)), 1.0
    yield metrics.RUN_UP, name, float(run.up)
    if run.step is not None:
        yield metrics.RUN_STEP, name, run.step
    if run.last_sample_time is not None:
        yield metrics.RUN_LAST_SAMPLE, name, run.last_sample_time
    yield metrics.LR_SCALE, name, run.scale
    yield metrics.COMMAND_PENDING, name, run.pending_seconds
    if run.applied_time is not None:
        yield metrics.COMMAND_APPLIED, name, run.applied_time
    yield metrics.CONTROLLER_TOKEN, name, run.token
    if run.effect is not None:
        yield metrics.EFFECT_GAIN, name, run.effect.gain
        yield metrics.EFFECT_GAIN_LOWER, name, run.effect.lower
        yield metrics.EFFECT_GAIN_UPPER, name, run.effect.upper
    yield metrics.INGEST_BYTES, name, run.bytes
    yield metrics.INGEST_LINES, name, run.lines
    yield metrics.INGEST_SAMPLES, name, run.samples
    yield metrics.INGEST_LAG, name, run.lag_bytes


def one_per_value(run: RunStatus) -> Iterator[Series]:
    """The series that a run has once per metric, group, kind, reason or code; watched metrics come first."""
    name = label_value(run.name)
    watched_first = sorted(run.metrics, key=lambda m: (m.name != run.metric, m.trend is None))
    for status in watched_first:
        labels = (name, label_value(status.name))
        yield metrics.RUN_METRIC_VALUE, labels, status.value
        if status.trend is not None:
            yield metrics.RUN_PLATEAU, labels, float(status.trend.state == "plateau")
            yield metrics.RUN_IMPROVEMENT, labels, status.trend.improvement
            yield metrics.RUN_IMPROVEMENT_LOWER, labels, status.trend.lower
            yield metrics.RUN_IMPROVEMENT_UPPER, labels, status.trend.upper
            yield metrics.RUN_DETECTABLE, labels, status.trend.detectable
        if status.state is not None:
            for state in get_args(TrendState):
                yield metrics.RUN_TREND, (*labels, state), float(status.state == state)
    # Known values start at 0: Prometheus' increase() does not see the step of a series that is born at 1. Only a run
    # whose trainer has said hello, so that there is a token, can be given a command and refuse it.
    findings: dict[str, int] = {**dict.fromkeys(KINDS, 0), **run.findings}
    commands = {**dict.fromkeys(CAUSES if run.token else (), 0), **run.commands}
    effects = {**dict.fromkeys(get_args(Verdict) if run.token else (), 0), **run.effects}
    rejected = {**dict.fromkeys(get_args(RejectionCode) if run.token else (), 0), **run.rejected}
    for metric, values in (
        (metrics.FINDINGS, findings),
        (metrics.LR_SCHEDULE, run.schedule_lr),
        (metrics.LR_EFFECTIVE, run.effective_lr),
        (metrics.COMMANDS, commands),
        (metrics.COMMANDS_REJECTED, rejected),
        (metrics.EFFECTS, effects),
        (metrics.INGEST_ERRORS, run.errors),
    ):
        for label, value in values.items():
            yield metric, (name, label_value(label)), value


class Instruments(Collector):
    """The daemon's own counters and histograms, without the `_created` series that the client library adds to each."""

    def __init__(self, *instruments: MetricWrapperBase) -> None:
        self._instruments = instruments

    def collect(self) -> Iterable[metrics_core.Metric]:
        """The families of the instruments, in the order given."""
        for instrument in self._instruments:
            for family in instrument.collect():
                family.samples = [s for s in family.samples if not s.name.endswith("_created")]
                yield family


class RunCollector(Collector):
    """Gives Prometheus the newest published snapshot. `publish` and `collect` may be called from different threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._counted: Snapshot | None = None
        self._dropped = 0

    def publish(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on."""
        self._snapshot = snapshot

    def collect(self) -> Iterator[metrics_core.Metric]:
        """The families of `names`, each with its series; a family without series is named all the same."""
        snapshot = self._snapshot
        series, dropped = bounded(snapshot) if snapshot is not None else ({}, 0)
        with self._lock:
            if snapshot is not self._counted:
                self._counted = snapshot
                self._dropped += dropped
            total_dropped = self._dropped
        series[metrics.BUILD_INFO.name] = {(__version__,): 1.0}
        series[metrics.SERIES_DROPPED.name] = {(): total_dropped}
        for metric in metrics.METRICS:
            if metric.labels or metric is metrics.SERIES_DROPPED:
                yield _family(metric, series.get(metric.name, {}))


def bounded(snapshot: Snapshot) -> tuple[dict[str, dict[tuple[str, ...], float]], int]:
    """The series of a snapshot, by metric name and label values, and the number of those that were left out.

    What every run has once is served before anything that a run may have many of, so that one run with many metrics
    cannot hide another run.
    """
    kept: dict[str, dict[tuple[str, ...], float]] = {}
    per_run: Counter[tuple[str, str]] = Counter()
    size = dropped = 0
    for kinds_of_series in (one_of_each, one_per_value):
        for run in snapshot.runs:
            for metric, labels, value in kinds_of_series(run):
                family = kept.setdefault(metric.name, {})
                place = (metric.name, labels[0])
                if labels in family or size >= MAX_SERIES or per_run[place] >= MAX_VALUES_PER_RUN:
                    dropped += 1
                    continue
                family[labels] = value
                per_run[place] += 1
                size += 1
    return kept, dropped


def _family(metric: Metric, series: dict[tuple[str, ...], float]) -> metrics_core.Metric:
    if metric.kind == "info":
        info = metrics_core.InfoMetricFamily(metric.name.removesuffix("_info"), metric.help, labels=metric.labels)
        for labels in series:
            info.add_metric(labels, {})
        return info
    of_kind = metrics_core.CounterMetricFamily if metric.kind == "counter" else metrics_core.GaugeMetricFamily
    family = of_kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in series.items():
        family.add_metric(labels, value)
    return family
