"""Cost of one scrape of 10,000 and of 100,000 series, against that of the client library alone with as many gauges.

The ratio does not depend on the machine. Limits: 150 ms for 10,000 series, and LIMIT times the library.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from lrwatch.core.snapshot import MetricStatus, RunStatus, Snapshot, TrendStatus
from lrwatch.export.collector import RunCollector

MILLISECONDS, LIMIT = 150.0, 3.0
METRICS_A_RUN = 12


def fleet(runs: int) -> Snapshot:
    """Return runs with a watched loss and some other metrics."""
    loss = MetricStatus("loss", 1000, 2.5, TrendStatus(0.01, 0.005, 0.015, 100.0), watched=True, state="improving")
    others = tuple(MetricStatus(f"layer{i}/norm", 1000, 1.0) for i in range(METRICS_A_RUN - 1))
    one = RunStatus("r", "auto", metric="loss", up=True, step=1000, last_sample_time=1.0, metrics=(loss, *others))
    return Snapshot(1.0, tuple(replace(one, name=f"r{i:05}") for i in range(runs)))


class Plain(Collector):
    """As many gauges as there are series, with the same number of labels."""

    def __init__(self, series: int) -> None:
        self._series = series

    def collect(self) -> list[GaugeMetricFamily]:
        """Return one family."""
        family = GaugeMetricFamily("lrwatch_run_metric_value", "Newest value.", labels=("run", "metric"))
        for i in range(self._series):
            family.add_metric((f"r{i:05}", "loss"), 2.5)
        return [family]


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """Return the processor time of the fastest of some calls."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def scrape(series: int) -> tuple[float, float, bytes]:
    """Return the seconds of a scrape, those of the library alone, and the exposition."""
    collector, registry = RunCollector(series), CollectorRegistry()
    collector.publish(fleet(series // 50))
    registry.register(collector)
    plain = CollectorRegistry()
    plain.register(Plain(series))
    return (
        seconds(lambda: generate_latest(registry)),
        seconds(lambda: generate_latest(plain)),
        generate_latest(registry),
    )


def main() -> None:
    """Print the table, and end with 1 where a limit does not hold."""
    held = True
    for series in (10_000, 100_000):
        own, library, text = scrape(series)
        count = sum(not line.startswith(b"#") for line in text.splitlines())
        small = len(gzip.compress(text, 4))
        print(
            f"{count:7} series: {1000 * own:6.0f} ms, {own / library:.1f} times the library; "
            f"{len(text) / 1e3:.0f} kB, {small / 1e3:.0f} kB compressed"
        )
        held &= own < LIMIT * library and (series > 10_000 or 1000 * own < MILLISECONDS)
    raise SystemExit(not held)


if __name__ == "__main__":
    main()
