"""Golden files: what they must hold, and, as a program, their regeneration. `make golden` runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from support import golden_docs
from support.example_snapshots import FULL

from lrwatch._version import __version__
from lrwatch.cli.record_schema import schema
from lrwatch.cli.records import RECORDS
from lrwatch.cli.service import unit
from lrwatch.core.snapshot import Snapshot
from lrwatch.export.collector import RunCollector

ROOT = Path(__file__).parents[2]
EXPOSITION = ROOT / "tests/export/golden.prom"
RECORD_FIELDS = ROOT / "tests/data/record_fields.json"
DASHBOARDS = ROOT / "grafana/dashboards"
UNITS = ROOT / "deploy/systemd"
RULES = ROOT / "deploy/prometheus/rules.yml"
PROMETHEUS_RULE = ROOT / "deploy/kubernetes/monitoring/prometheusrule.yaml"
# Where the units in deploy/ expect the program: a virtual environment that every user can reach.
PROGRAM = "/opt/lrwatch/bin/lrwatch"


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


Fields = dict[str, dict[str, dict[str, str]]]
"""Verb to kind of record to field to "always" or "sometimes"."""


def record_fields() -> Fields:
    """Return the fields of all records that `--format json` prints."""
    return {
        verb: {
            kind: {name: "always" if name in of["required"] else "sometimes" for name in of["properties"]}
            for kind, of in schema(verb).get("$defs", {}).items()
        }
        for verb in RECORDS
    }


def promised_fields() -> Fields:
    """Return the fields that were there once, and so stay."""
    promised: Fields = json.loads(RECORD_FIELDS.read_text(encoding="utf-8"))
    return promised


def write_record_fields() -> None:
    """Add the new fields to those that are promised; none is taken away."""
    promised, now = promised_fields() if RECORD_FIELDS.exists() else {}, record_fields()
    for verb, kinds in now.items():
        for kind, names in kinds.items():
            names.update(promised.get(verb, {}).get(kind, {}))
        now[verb] = {**promised.get(verb, {}), **kinds}
    RECORD_FIELDS.write_text(json.dumps({**promised, **now}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def build_dashboards(folder: Path) -> None:
    """Write the dashboards as their script does."""
    subprocess.run([sys.executable, ROOT / "grafana/build.py", folder], check=True)


def unit_files() -> dict[Path, str]:
    """Return the units as `lrwatch service install` of that program writes them."""
    return {
        UNITS / "lrwatch.service": unit("system", [PROGRAM]),
        UNITS / "lrwatch@.service": unit("template", [PROGRAM]),
    }


def prometheus_rule() -> str:
    """Return the rules as a resource of the Prometheus operator."""
    rules = textwrap.indent(RULES.read_text(encoding="utf-8"), "  ")
    about = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: lrwatch\nspec:\n"
    return f"# Written by `make golden` from deploy/prometheus/rules.yml.\n{about}{rules}"


if __name__ == "__main__":
    EXPOSITION.write_text(golden_exposition(), encoding="utf-8")
    build_dashboards(DASHBOARDS)
    write_record_fields()
    golden_docs.write()
    PROMETHEUS_RULE.write_text(prometheus_rule(), encoding="utf-8")
    for path, text in unit_files().items():
        path.write_text(text, encoding="utf-8")
