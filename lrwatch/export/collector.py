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
from lrwatch.core.snapshot import MetricStatus, RunStatus, Snapshot
from lrwatch.export.labels import label_value
from lrwatch.export.metrics import (
    BUILD_INFO,
    JOURNAL_ENTRIES,
    RUN_METRICS,
    SERIES_DROPPED,
    WATCH_PATH_UP,
    Metric,
    SeriesValues,
)

# Beyond 100 values of one label Prometheus' guidelines ask for another design. A log with more metrics than that (one
# per layer, say) still has its watched metrics served first.
MAX_VALUES_PER_RUN = 100

# Room for the essential series of 1,500 runs. 10,000 series cost one scrape about 100 ms.
MAX_SERIES = 100_000

Family = dict[tuple[str, ...], float]
"""The samples of one metric, by label values in the order of `Metric.labels`."""

# The rows whose values belong to one metric of a run.
_PER_METRIC = [metric for metric in RUN_METRICS if metric.read_metric]


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
    """Collector of the newest published snapshot. `publish` and `collect` may be called from different threads.

    Args:
        max_series: Series of runs in one scrape at the most.
        of_runs_only: Whether the daemon itself is left out: where several write side by side, its series would clash.
    """

    def __init__(self, max_series: int = MAX_SERIES, *, of_runs_only: bool = False) -> None:
        self._max_series = max_series
        self._of_runs_only = of_runs_only
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
        series = bounded(snapshot or Snapshot(0.0), self._max_series)
        with self._lock:
            if snapshot is not self._counted:
                self._counted = snapshot
                self._dropped += series.dropped
            total_dropped = self._dropped
        for metric in RUN_METRICS:
            labels = (*metric.labels, *series.further) if metric.further else metric.labels
            yield _family(metric, labels, series.families[metric.name])
        if self._of_runs_only:
            return
        paths = {} if snapshot is None else dict(list(snapshot.paths.items())[:MAX_VALUES_PER_RUN])
        up: Family = {(label_value(path),): float(up) for path, up in paths.items()}
        yield _family(BUILD_INFO, BUILD_INFO.labels, {(__version__,): 1.0})
        yield _family(WATCH_PATH_UP, WATCH_PATH_UP.labels, up)
        entries = None if snapshot is None else snapshot.journal_entries
        yield _family(JOURNAL_ENTRIES, (), {} if entries is None else {(): entries})
        yield _family(SERIES_DROPPED, (), {(): total_dropped})


class Series:
    """Series up to the limits.

    Args:
        most: Their greatest number.
        further: Names of the labels beside those of the table.

    Attributes:
        families: The series that were taken, by metric name.
        further: As given.
        dropped: Number of series that the limits kept out.
    """

    def __init__(self, most: int, further: tuple[str, ...]) -> None:
        self.families: dict[str, Family] = {metric.name: {} for metric in RUN_METRICS}
        self.further = further
        self.dropped = 0
        self._most = most
        self._size = 0
        self._taken: dict[tuple[str, str], int] = {}  # by metric and run

    def add(self, metric: Metric, labels: tuple[str, ...], values: SeriesValues, run: RunStatus) -> None:
        """Take the values of one row for one run, or for one metric of a run, as far as the limits allow."""
        if values is None:
            return
        if isinstance(values, (float, int)):
            found: Iterable[tuple[tuple[str, ...], float]] = ((labels, values),)
        elif self._size >= self._most:
            self.dropped += len(values)
            return
        else:
            found = [
                ((*labels, *map(label_value, key)) if isinstance(key, tuple) else (*labels, label_value(key)), value)
                for key, value in values.items()
            ]
        if metric.further is not None:
            given = metric.further(run)
            more = tuple(label_value(given.get(name, "")) for name in self.further)
            found = [((*key, *more), value) for key, value in found]
        family, place = self.families[metric.name], (metric.name, labels[0])
        taken, size = self._taken.get(place, 0), self._size
        for key, value in found:
            if size >= self._most or taken >= MAX_VALUES_PER_RUN or key in family:
                self.dropped += 1
            else:
                family[key] = value
                taken += 1
                size += 1
        self._taken[place], self._size = taken, size


def bounded(snapshot: Snapshot, most: int) -> Series:
    """Read the series of a snapshot, up to the limits, so that no run hides another.

    First comes what is essential, of every run and of the metric that decides; then the rest of every run; and then the other metrics,
    one of each run in turn. Row by row over all runs: where there is room for half of the rows, every run has that half.

    Args:
        snapshot: The runs.
        most: Greatest number of series.

    Returns:
        The series, and the number of those that were left out.
    """
    series = Series(most, tuple(sorted({label for run in snapshot.runs for label in run.labels})))
    runs = [(label_value(run.name), run, *_metrics(run)) for run in snapshot.runs]
    for essential in (True, False):
        for metric in RUN_METRICS:
            if metric.essential is not essential:
                continue
            for name, run, decides, _ in runs:
                if metric.read is not None:
                    series.add(metric, (name,), metric.read(run), run)
                elif metric.read_metric is not None and decides is not None:
                    series.add(metric, (name, label_value(decides.name)), metric.read_metric(decides), run)
    for turn in range(max((len(others) for *_, others in runs), default=0)):
        for name, run, _, others in runs:
            if turn < len(others):
                labels = (name, label_value(others[turn].name))
                for metric in _PER_METRIC:
                    assert metric.read_metric is not None
                    series.add(metric, labels, metric.read_metric(others[turn]), run)
    return series


def _metrics(run: RunStatus) -> tuple[MetricStatus | None, list[MetricStatus]]:
    """Return the metric that decides on a run, if there is one, and the others, those with a trend first."""
    decides = next((one for one in run.metrics if one.name == run.metric), None)
    others = [one for one in run.metrics if one is not decides]
    return decides, sorted(others, key=lambda one: one.trend is None)


def _family(metric: Metric, labels: tuple[str, ...], series: Family) -> metrics_core.Metric:
    if metric.type == "info":
        info = metrics_core.InfoMetricFamily(metric.name.removesuffix("_info"), metric.help, labels=labels)
        for values in series:
            info.add_metric(values, {})
        return info
    of_type = metrics_core.CounterMetricFamily if metric.type == "counter" else metrics_core.GaugeMetricFamily
    family = of_type(metric.name, metric.help, labels=labels)
    for values, value in series.items():
        family.add_metric(values, value)
    return family
