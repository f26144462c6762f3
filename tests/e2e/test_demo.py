"""`lrwatch demo` as a user runs it, once, watched by a real Prometheus meanwhile: what it prints, leaves and serves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from support.daemon_process import lrwatch
from support.prometheus_server import JOB, Prometheus, Query, ScrapedRun, dashboard_queries, prometheus
from support.waiting import eventually

# One demo for all of them. It is held to its pace, so a busy machine takes longer.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo"), pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "grafana/dashboards/run.json").read_text(encoding="utf-8"))
QUERIES = dashboard_queries(DASHBOARD)

RATES = ("0.003", "0.01", "0.03")

# Steps of 20,000 behind which no trial begins any more; until then one of the three trainings has had a trial with an effect, or none will.
LATE = 17_000

# So much that a plateau is found in a run of this length; the demo itself keeps the default, under which it finds none.
WITH_FINDINGS = {**os.environ, "LRWATCH_DETECT_MIN_IMPROVEMENT": "0.02"}

# The demo's trainer has a callable, which cannot say its rates; nothing is refused, asked or lost, and no line is unusable in it.
MAY_BE_EMPTY = {
    "Unusable lines A", "Learning rate A", "Learning rate B", "Commands B", "annotation Command refused",
    "annotation Critical finding", "ID to approve A", "Tells by step A",
}  # fmt: skip


@dataclass(frozen=True)
class Demo:
    """A demo that has ended, and the training of it that the dashboard was asked about: one whose trial had an effect, if there was any."""

    run: str
    code: int
    out: str
    err: str
    report: Path
    live: str
    queries: dict[str, list[dict[str, Any]]]

    def path(self, name: str) -> str:
        """What the demo printed behind `name` at its end."""
        found = re.search(rf"^{name} +(.*)$", self.out, re.MULTILINE)
        assert found, self.out
        return found[1]

    def effects(self, run: str) -> list[str]:
        """What the journal says of the effects in a training."""
        state = self.path("journal").removeprefix("lrwatch journal --state ")
        events = _events("journal", "--state", state, "--format", "json", run)
        return [event["message"] for event in events if event["event"] == "effect"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo at its defaults, scraped until its command is acknowledged and measured, and the dashboard was asked."""
    home = tmp_path_factory.mktemp("demo")
    report = home / "page.html"
    command = [sys.executable, "-m", "lrwatch", "demo", "--seconds", "20", "--report", str(report)]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home, env=WITH_FINDINGS
    )
    try:
        assert running.stderr is not None
        head = [running.stderr.readline() for _ in range(3)]
        address = re.fullmatch(r"Watch it live: http://(127\.0\.0\.1:\d+)\n", head[-1])
        assert address, head
        with prometheus(tmp_path_factory.mktemp("prometheus"), [address[1]]) as server:
            start = time.time()
            applied = "lrwatch_command_applied_timestamp_seconds > 0"
            eventually(partial(server.query, applied), timeout=300, what=applied)
            live = urlopen(f"http://{address[1]}/", timeout=30).read().decode()
            run = eventually(
                partial(worth_showing, server), timeout=400, what="a training with a command and its effect"
            )
            choice = {"job": JOB, "instance": ".+", "run": run, "metric": ".+"}
            watched = ScrapedRun(server, start, time.time(), choice)
            answers = {query.where: watched.answer(query) for query in QUERIES}
        out, err = running.communicate(timeout=300)
        assert "Traceback" not in err
        yield Demo(run, running.returncode, out, err, report, live, answers)
    finally:
        running.kill()
        running.wait()


def worth_showing(server: Prometheus) -> str:
    """Return a training of which there is everything to show, or, close to the end, one of which there is most; "" before."""
    # The dashboard shows what there was in the last minutes; a new phase has no trend until its first window is full.
    moved = "sum by (run) (increase(lrwatch_commands_total[5m])) > 0"
    trend = 'count_over_time(lrwatch_run_improvement_ratio{metric="loss"}[5m]) > 2'
    measured = "count_over_time(lrwatch_effect_gain_ratio[5m]) > 1"
    late = f"lrwatch_run_step > {LATE}"
    for query in (
        f"{trend} and on (run) {measured} and on (run) {moved}",
        f"{trend} and on (run) {late} and on (run) {moved}",
    ):
        for found in server.query(query):
            return str(found["metric"]["run"])
    return ""


def test_lrwatch_ends_lower_than_each_training_alone_on_average(demo: Demo) -> None:
    rows = re.findall(r"^  ([\d.]+) .{24} +(0\.\d{4}) +(0\.\d{4}) +(0\.\d{4})  .* than alone$", demo.out, re.MULTILINE)
    assert [rate for rate, *_ in rows] == list(RATES), demo.out
    assert demo.code == 0, demo.out
    assert sum(float(own) for *_, own in rows) < sum(float(alone) for _, alone, *_ in rows)
    assert re.search(
        r"^With lrwatch the loss ended \S+ % lower than alone and .* than with torch's rule", demo.out, re.MULTILINE
    )


def test_the_losses_are_those_of_the_logs(demo: Demo) -> None:
    home = Path(demo.path("logs")).parent
    for rate in RATES:
        ways = ("alone", "torch", "with-lrwatch")
        logs = [(home / way / f"lr-{rate}" / "train.log").read_text(encoding="utf-8") for way in ways]
        losses = [f"{float(log.rstrip().rpartition('val_loss=')[2]):.4f}" for log in logs]
        assert re.search(rf"^  {rate} .*{' +'.join(losses)} ", demo.out, re.MULTILINE), demo.out


def test_every_change_is_one_sentence_and_acknowledged(demo: Demo) -> None:
    told = re.findall(r"^  step +[\d,]+: (.*)$", demo.out, re.MULTILINE)
    outcome = r"(Proven|Not proven|Taken back at step [\d,]+|The loss was lower|Not judged when).*\."
    change = rf"(tried .* the rate|went to .* the rate for good|lowered the rate along a line to almost zero at step 20,000)\. {outcome}"
    assert [sentence for sentence in told if not re.fullmatch(change, sentence)] == []
    assert len(told) > len(RATES)
    assert "Every change was acknowledged by its training." in demo.out


def test_it_shows_that_it_gets_on_and_serves_a_live_page(demo: Demo) -> None:
    assert re.search(r"^training: step [\d,]+ of 20,000$", demo.err, re.MULTILINE)
    assert all(f"/runs/lr-{rate}" in demo.live for rate in RATES)


def test_the_journal_it_names_holds_the_same(demo: Demo) -> None:
    state = demo.path("journal").removeprefix("lrwatch journal --state ")
    events = _events("journal", "--state", state, "--format", "json")
    assert next(e["kind"] for e in events if e["event"] == "finding") == "plateau"
    for rate in RATES:
        own = [e for e in events if e["run"] == f"lr-{rate}"]
        sent = [e["scale"] for e in own if e["event"] == "command" and e["state"] == "sent"]
        assert [e["scale"] for e in own if e["event"] == "acknowledged"] == sent != []


def test_a_replay_of_its_log_finds_what_the_daemon_found_until_the_rate_was_changed(demo: Demo) -> None:
    state = demo.path("journal").removeprefix("lrwatch journal --state ")
    live = _events("journal", "--state", state, "--format", "json", demo.run)
    log = Path(demo.path("logs")) / demo.run / "train.log"
    replayed = _events("replay", str(log), "--config", demo.path("config"), "--format", "json")
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
        e
        for e in _events("journal", "--state", state, "--format", "json", demo.run)
        if e["event"] in ("finding", "command")
    ]
    assert len(entries) > 3
    for entry in entries:
        said = lrwatch("explain", "--state", state, demo.run, str(entry["id"])).stdout
        assert "Computed again: the same numbers" in said, said


def test_the_report_is_the_file_of_the_option(demo: Demo) -> None:
    page = demo.report.read_text(encoding="utf-8")
    assert demo.path("report") == str(demo.report)
    assert "without lrwatch" in page
    assert "<svg" in page
    shown = re.search(r"lrwatch demo: from ([\d.]+)", page)  # the training that gained most
    assert shown
    measured = bool(demo.effects(f"lr-{shown[1]}"))
    assert ('class="expected"' in page) == measured, "going on is drawn beside what came"
    assert ("Effects of the changes" in page) == measured


def test_the_status_of_its_state_says_of_each_run_that_it_ended_and_whether_the_newest_command_helped(
    demo: Demo,
) -> None:
    state = demo.path("journal").removeprefix("lrwatch journal --state ")
    head, *rows = lrwatch("status", "--state", state).stdout.splitlines()
    of_runs = {row.split()[0]: row for row in rows if re.match(r"lr-[\d.]+ ", row)}
    assert set(of_runs) == {f"lr-{rate}" for rate in RATES}
    assert all(" ended " in row for row in of_runs.values())
    effects = demo.effects(demo.run)
    newest = of_runs[demo.run][head.index("last effect") :]
    if not effects:
        assert newest.startswith("none")
        return
    assert re.match(r"(helped|no certain gain|no gain|cost progress): \S+ % (better|worse)  ", newest)
    (whole,) = (
        row.removeprefix(f"{demo.run}: last effect: ") for row in rows if row.startswith(f"{demo.run}: last effect: ")
    )
    assert newest.partition("  ")[0] in whole
    assert whole.partition(")")[0] in effects[-1]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_the_dashboard_shows_the_live_demo(demo: Demo, query: Query) -> None:
    of_effect = "lrwatch_effect" in query.expr and not demo.effects(demo.run)
    assert demo.queries[query.where] or query.where in MAY_BE_EMPTY or of_effect


def _events(*command: str) -> list[dict[str, Any]]:
    run = lrwatch(*command, env=WITH_FINDINGS)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]
