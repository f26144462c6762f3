"""`lrwatch demo` as a user runs it, once, watched by a real Prometheus meanwhile: what it prints, leaves and serves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.prometheus_server import JOB, Query, ScrapedRun, dashboard_queries, prometheus
from support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]  # one demo for all of them

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "grafana/dashboards/run.json").read_text(encoding="utf-8"))
QUERIES = dashboard_queries(DASHBOARD)

# The demo's trainer has a callable, which cannot say its rates; nothing is refused, asked or lost, and no line is unusable in it.
MAY_BE_EMPTY = {
    "Unusable lines A", "Learning rate A", "Learning rate B", "Commands B", "annotation Command refused",
    "annotation Critical finding", "ID to approve A", "Tells by step A",
}  # fmt: skip


@dataclass(frozen=True)
class Demo:
    """A demo that has ended."""

    code: int
    out: str
    report: Path
    queries: dict[str, list[dict[str, Any]]]

    def path(self, name: str) -> str:
        """What the demo printed behind `name` at its end."""
        found = re.search(rf"^{name} +(.*)$", self.out, re.MULTILINE)
        assert found, self.out
        return found[1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo at its defaults, scraped until its command is acknowledged and measured, and the dashboard was asked."""
    home = tmp_path_factory.mktemp("demo")
    report = home / "page.html"
    command = [sys.executable, "-m", "lrwatch", "demo", "--listen", "127.0.0.1:0", "--report", str(report)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home)
    try:
        assert running.stderr is not None
        first = running.stderr.readline()
        address = re.fullmatch(r"listening on http://(127\.0\.0\.1:\d+)\n", first)
        assert address, first
        with prometheus(tmp_path_factory.mktemp("prometheus"), [address[1]]) as server:
            start = time.time()
            applied = 'lrwatch_command_applied_timestamp_seconds{run="train"} > 0'
            eventually(partial(server.query, applied), timeout=120, what=applied)
            moved = 'increase(lrwatch_commands_total{run="train"}[10s]) > 0'
            eventually(partial(server.query, moved), timeout=30, what=moved)
            # A new phase has no trend until its first window is full. Some scrapes of both, since the dashboard asks for
            # whole steps of time; both at one moment, since the next command may follow at once.
            trend = 'count_over_time(lrwatch_run_improvement_ratio{run="train",metric="loss"}[10s]) > 2'
            measured = 'count_over_time(lrwatch_effect_gain_ratio{run="train"}[10s]) > 1'
            both = f"{trend} and on (run) {measured}"
            eventually(partial(server.query, both), timeout=60, what=both)
            choice = {"job": JOB, "instance": ".+", "run": "train", "metric": ".+"}
            watched = ScrapedRun(server, start, time.time(), choice)
            answers = {query.where: watched.answer(query) for query in QUERIES}
        out, err = running.communicate(timeout=120)
        assert "Traceback" not in err
        yield Demo(running.returncode, out, report, answers)
    finally:
        running.kill()
        running.wait()


def test_it_improves_on_the_training_without_lrwatch(demo: Demo) -> None:
    without, with_lrwatch = map(float, re.findall(r"^ +(\d\.\d+) +(\d\.\d+) ", demo.out, re.MULTILINE)[0])
    assert demo.code == 0
    assert with_lrwatch < without


def test_every_change_is_shown_with_reason_acknowledgement_and_effect(demo: Demo) -> None:
    changes = re.findall(r"^step (\d+): scale ([\d.]+), acknowledged at step (\d+)$", demo.out, re.MULTILINE)
    assert changes
    assert all(int(sent) <= int(applied) for sent, _, applied in changes)
    assert len(
        re.findall(
            r"^  reason  (?:the run has slowed down: |the metric (?:improves|gets worse) by|the trial of scale|anneal: the scale falls)",
            demo.out,
            re.MULTILINE,
        )
    ) == len(changes)
    effects = re.findall(r"^  effect  (.*)$", demo.out, re.MULTILINE)
    measured = r"(helped|no certain gain|no gain|cost progress): \S+ %( better| worse)? \(.+ to .+ %( better)?\); .* continuing would have given .*|not measured: .*"
    assert [effect for effect in effects if not re.fullmatch(measured, effect)] == []
    assert len(effects) == len(changes)


def test_the_journal_it_names_holds_the_same(demo: Demo) -> None:
    state = demo.path("journal").removeprefix("lrwatch journal --state ")
    command = [sys.executable, "-m", "lrwatch", "journal", "--state", state, "--format", "json"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert next(e["kind"] for e in events if e["event"] == "finding") == "plateau"
    assert [e["scale"] for e in events if e["event"] == "acknowledged"] == [
        e["scale"] for e in events if e["event"] == "command"
    ]


def test_a_replay_of_its_log_finds_what_the_daemon_found_until_the_rate_was_changed(demo: Demo) -> None:
    state = demo.path("journal").removeprefix("lrwatch journal --state ")
    live = _events("journal", "--state", state, "--format", "json")
    replayed = _events("replay", demo.path("log"), "--config", demo.path("config"), "--format", "json")
    changed = next(
        event["step"] for event in live if event["event"] == "acknowledged"
    )  # a log alone does not tell by whom
    keys = ("kind", "metric", "step", "evidence")
    found = [
        [[e.get(k) for k in keys] for e in events if e["event"] == "finding" and e["step"] < changed]
        for events in (live, replayed)
    ]
    assert found[0] == found[1] != []


def test_every_finding_and_command_is_computed_again(demo: Demo) -> None:
    state = demo.path("journal").removeprefix("lrwatch journal --state ")
    entries = [
        e for e in _events("journal", "--state", state, "--format", "json") if e["event"] in ("finding", "command")
    ]
    assert len(entries) > 3
    for entry in entries:
        command = [sys.executable, "-m", "lrwatch", "explain", "--state", state, "train", str(entry["id"])]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "Computed again: the same numbers" in said, said


def test_the_report_is_the_file_of_the_option(demo: Demo) -> None:
    page = demo.report.read_text(encoding="utf-8")
    assert demo.path("report") == str(demo.report)
    assert "without lrwatch" in page
    assert "<svg" in page
    assert 'class="expected"' in page, "going on is drawn beside what came"
    assert "Effects of the changes" in page


def test_the_status_of_its_state_says_first_whether_the_newest_command_helped(demo: Demo) -> None:
    state = demo.path("journal").removeprefix("lrwatch journal --state ")
    command = [sys.executable, "-m", "lrwatch", "status", "--state", state]
    head, row, *_ = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    newest = re.findall(r"^  effect  (\w[^;]* %\));", demo.out, re.MULTILINE)[-1]
    assert row[head.index("last effect") :].startswith(f"{newest}  ")


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_the_dashboard_shows_the_live_demo(demo: Demo, query: Query) -> None:
    assert demo.queries[query.where] or query.where in MAY_BE_EMPTY


def _events(*command: str) -> list[dict[str, Any]]:
    run = subprocess.run([sys.executable, "-m", "lrwatch", *command], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]
