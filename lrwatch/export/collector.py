"""A snapshot as Prometheus sample families, bounded in number.

Values are proxied, not instrumented: whatever is absent from the snapshot is absent from the next scrape, and Prometheus
marks it stale at once. No sample carries a timestamp. What is served, and from where, is the table in `metrics`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from prometheus_client import metrics_core
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from lrwatch._version import __version__
from lrwatch.core.snapshot import Snapshot
from lrwatch.export.labels import label_value
from lrwatch.export.metrics import BUILD_INFO, RUN_METRICS, SERIES_DROPPED, WATCH_PATH_UP, Metric, Values

# Beyond 100 values of one label Prometheus' guidelines ask for another design. A log with more metrics than that (one
# per layer, say) still has its watched metrics served first.
MAX_VALUES_PER_RUN = 100

# 5,000 series cost one scrape about 45 ms and 0.3 MB, far below the usual timeout of 10 s, on a machine that has a
# training to do. It is room for 100 runs with a dozen metrics each.
MAX_SERIES = 5_000

Family = dict[tuple[str, ...], float]
"""The samples of one metric, by label values in the order of `Metric.labels`."""

# The rows by how many series they give: one a run, one or more for each metric of a run, one for each value of a label.
_ONE_PER_RUN = [(m.name, m.read) for m in RUN_METRICS if m.read and (m.labels == ("run",) or m.type == "info")]
_PER_METRIC = [(m.name, m.read_metric) for m in RUN_METRICS if m.read_metric]
_PER_VALUE = [(m.name, m.read) for m in RUN_METRICS if m.read and m.labels != ("run",) and m.type != "info"]


class Instruments(Collector):
    """The daemon's own counters and histograms, without the `_created` series that the client library adds to each."""

    def __init__(self, *instruments: MetricWrapperBase) -> None:
        self._instruments = instruments

    def collect(self) -> Iterable[metrics_core.Metric]:
        """Yield the families of the instruments, in the order given."""
        for instrument in self._instruments:
            for family in instrument.collect():
                family.samples = [s for s in family.samples if not s.name.endswith("_created")]
                yield family


class RunCollector(Collector):
    """Collector of the newest published snapshot. `publish` and `collect` may be called from different threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._counted: Snapshot | None = None
        self._dropped = 0

    def publish(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on."""
        self._snapshot = snapshot

    def collect(self) -> Iterator[metrics_core.Metric]:
        """Yield the family of every row of the table; a family without series is named all the same."""
        snapshot = self._snapshot
        families, dropped = bounded(snapshot) if snapshot is not None else ({}, 0)
        with self._lock:
            if snapshot is not self._counted:
                self._counted = snapshot
                self._dropped += dropped
            total_dropped = self._dropped
        yield _family(BUILD_INFO, {(__version__,): 1.0})
        for metric in RUN_METRICS:
            yield _family(metric, families.get(metric.name, {}))
        paths = {} if snapshot is None else dict(list(snapshot.paths.items())[:MAX_VALUES_PER_RUN])
        yield _family(WATCH_PATH_UP, {(label_value(path),): float(up) for path, up in paths.items()})
        yield _family(SERIES_DROPPED, {(): total_dropped})


class _Series:
    """Series up to the limits.

    Attributes:
        families: The series that were taken, by metric name.
        dropped: Number of series that the limits kept out.
    """

    def __init__(self) -> None:
        self.families: dict[str, Family] = {metric.name: {} for metric in RUN_METRICS}
        self.dropped = 0
        self._size = 0
        self._taken: dict[tuple[str, str], int] = {}  # by metric and run

    def add(self, metric: str, labels: tuple[str, ...], values: Values) -> None:
        """Take the values of one row for one run, or for one metric of a run, as far as the limits allow."""
        if values is None:
            return
        if isinstance(values, (float, int)):
            found: Iterable[tuple[tuple[str, ...], float]] = ((labels, values),)
        elif self._size >= MAX_SERIES:
            self.dropped += len(values)
            return
        else:
            found = [
                ((*labels, *map(label_value, key)) if isinstance(key, tuple) else (*labels, label_value(key)), value)
                for key, value in values.items()
            ]
        family, place = self.families[metric], (metric, labels[0])
        taken, size = self._taken.get(place, 0), self._size
        for key, value in found:
            if size >= MAX_SERIES or taken >= MAX_VALUES_PER_RUN or key in family:
                self.dropped += 1
            else:
                family[key] = value
                taken += 1
                size += 1
        self._taken[place], self._size = taken, size


def bounded(snapshot: Snapshot) -> tuple[dict[str, Family], int]:
    """Read the series of a snapshot, up to the limits.

    A series that every run has once is served before any that a run may have many of, so that one run with many metrics
    cannot hide another run. Of the metrics of a run the watched one comes first, then those with a trend.

    Returns:
        The families by metric name, and the number of series that were left out.
    """
    series = _Series()
    names = [label_value(run.name) for run in snapshot.runs]
    for name, run in zip(names, snapshot.runs, strict=True):
        for metric, read in _ONE_PER_RUN:
            series.add(metric, (name,), read(run))
    for name, run in zip(names, snapshot.runs, strict=True):
        for status in sorted(run.metrics, key=lambda m: (m.name != run.metric, m.trend is None)):
            labels = (name, label_value(status.name))
            for metric, read_metric in _PER_METRIC:
                series.add(metric, labels, read_metric(status))
        for metric, read in _PER_VALUE:
            series.add(metric, (name,), read(run))
    return series.families, series.dropped


def _family(metric: Metric, series: Family) -> metrics_core.Metric:
    if metric.type == "info":
        info = metrics_core.InfoMetricFamily(metric.name.removesuffix("_info"), metric.help, labels=metric.labels)
        for labels in series:
            info.add_metric(labels, {})
        return info
    of_type = metrics_core.CounterMetricFamily if metric.type == "counter" else metrics_core.GaugeMetricFamily
    family = of_type(metric.name, metric.help, labels=metric.labels)
    for labels, value in series.items():
        family.add_metric(labels, value)
    return family
