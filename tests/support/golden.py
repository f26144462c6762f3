"""Golden files: what they must hold, and, as a program, their regeneration. `make golden` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from support import golden_docs
from support.example_snapshots import FULL

from lrwatch._version import __version__
from lrwatch.core.snapshot import Snapshot
from lrwatch.export.collector import RunCollector

ROOT = Path(__file__).parents[2]
EXPOSITION = ROOT / "tests/export/golden.prom"
DASHBOARDS = ROOT / "grafana/dashboards"


def scrape(collector: RunCollector) -> str:
    """Return what Prometheus gets from a collector, as text."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode()


def exposition(snapshot: Snapshot) -> str:
    """Return what Prometheus gets once `snapshot` is published."""
    collector = RunCollector()
    collector.publish(snapshot)
    return scrape(collector)


def golden_exposition() -> str:
    """Return the exposition of the full example snapshot, with a placeholder for the version."""
    return exposition(FULL).replace(f'version="{__version__}"', 'version="@VERSION@"')


def build_dashboards(folder: Path) -> None:
    """Write the dashboards as their script does."""
    subprocess.run([sys.executable, ROOT / "grafana/build.py", folder], check=True)


if __name__ == "__main__":
    EXPOSITION.write_text(golden_exposition(), encoding="utf-8")
    build_dashboards(DASHBOARDS)
    golden_docs.write()
