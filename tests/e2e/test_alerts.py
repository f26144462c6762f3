"""From a training to the person who is told: real trainers, daemon, Prometheus, Alertmanager and webhook, with all times divided by 60."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.alertmanager_server import Webhook, alertmanager, faster_rules
from support.daemon_process import DaemonProcess, lrwatch
from support.prometheus_server import Prometheus, prometheus
from support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("alerts"),  # one story, told in order
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("prometheus-alertmanager") is None,
        reason="needs Debian's prometheus and prometheus-alertmanager",
    ),
]

PAGES = Path(__file__).parents[2] / "docs/alerts"

# Falls as a power of the step, or reaches a floor from which only a smaller learning rate leads on. Ends when its input does.
TRAINER = """
import math, random, select, sys, time
import lrwatch

control, shape = sys.argv[1:]
rng, floor = random.Random(1), 1.0
with lrwatch.attach(None, control, poll_seconds=0.01) as watch:
    for step in range(1, 10**6):
        if watch.scale < 1:
            floor *= 0.999
        mean = floor + 2 * math.exp(-step / 150) if shape == "flat" else 6 * step**-0.2
        watch.step(loss=mean + 0.01 * rng.gauss(0, 1))
        if step > 1500 and select.select([sys.stdin], [], [], 0.02)[0]:
            break
"""


@dataclass
class Stack:
    """All that runs."""

    runs: Path
    daemon: DaemonProcess
    server: Prometheus
    webhook: Webhook
    alertmanager: str
    trainers: dict[str, subprocess.Popen[bytes]]

    def train(self, run: str, shape: str) -> subprocess.Popen[bytes]:
        """Start a trainer of this run."""
        self.trainers[run] = subprocess.Popen(
            [sys.executable, "-c", TRAINER, str(self.runs / run / "lrwatch"), shape], stdin=subprocess.PIPE
        )
        return self.trainers[run]

    def told(self, name: str, status: str, **labels: str) -> dict[str, dict[str, str]]:
        """Wait until somebody is told of this alert, and return it."""

        def found() -> dict[str, dict[str, str]] | None:
            return next((alert for _, now, alert in self.webhook.alerts(name, **labels) if now == status), None)

        what = f"{name} {status} {labels}; sent was {self.webhook.messages}; alerts {self.server.query('ALERTS')}"
        return eventually(found, timeout=90, what=what)


def kill(trainer: subprocess.Popen[bytes]) -> None:
    """End a trainer without a goodbye."""
    trainer.send_signal(signal.SIGKILL)
    trainer.communicate()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("alerts")
    for name in ("runs", "prometheus", "alertmanager"):
        (home / name).mkdir()
    with ExitStack() as exits:
        arguments = ("--mode", "approve", "--poll-seconds", "0.2")
        daemon = DaemonProcess(home / "daemon", home / "runs", *arguments)
        exits.callback(daemon.end)
        address, webhook = exits.enter_context(alertmanager(home / "alertmanager"))
        target = daemon.address.removeprefix("http://")
        rules = faster_rules(home / "rules.yml")
        server = exits.enter_context(prometheus(home / "prometheus", [target], rules, address))
        stack = Stack(home / "runs", daemon, server, webhook, address, {})
        for run, shape in (("flat", "flat"), ("killed", "falls"), ("ends", "falls")):
            stack.train(run, shape)
        yield stack
        for trainer in stack.trainers.values():
            kill(trainer)


def test_a_plateau_reaches_the_team_who_approves_what_it_says_and_is_told_that_it_is_over(stack: Stack) -> None:
    told = stack.told("TrainingPlateau", "firing", run="flat")
    assert told["annotations"]["runbook_url"].endswith("/docs/alerts/TrainingPlateau.md")
    asked = stack.told("LrCommandAwaitsApproval", "firing", run="flat")
    typed = re.findall(r"`(lrwatch approve [^`]+)`", asked["annotations"]["description"])
    done = lrwatch(*shlex.split(typed[0])[1:], "--state", stack.daemon.state)
    assert done.returncode == 0, done.stderr
    stack.told("LrCommandAwaitsApproval", "resolved", run="flat")
    stack.told("TrainingPlateau", "resolved", run="flat")
    # Both came in the messages of one group, that of the run.
    keys = {m["groupKey"] for _, m in stack.webhook.messages if m["groupLabels"].get("run") == "flat"}
    assert len({re.sub(r"^.*:", "", key) for key in keys}) == 1


def test_a_trainer_that_is_killed_is_told_and_one_that_ends_is_silent(stack: Stack) -> None:
    running = 'lrwatch_run_life{life="running",run=~"killed|ends"} == 1'
    eventually(lambda: len(stack.server.query(running)) == 2, timeout=60, what="both trainers are watched")
    kill(stack.trainers["killed"])
    ends = stack.trainers["ends"]
    assert ends.stdin is not None
    ends.stdin.close()
    told = stack.told("TrainingStalled", "firing", run="killed")
    assert "has not said that it is over" in told["annotations"]["description"]
    eventually(lambda: stack.server.query('ALERTS{alertname="TrainingEnded",run="ends",alertstate="firing"}'), 60)
    attempt = stack.train("killed", "falls")
    stack.told("TrainingStalled", "resolved", run="killed")
    again = 'lrwatch_run_life{life="running",run="killed"} == 1 and on (run) lrwatch_run_up == 1'
    eventually(lambda: stack.server.query(again), timeout=60, what="the second attempt is watched")
    kill(attempt)
    assert [m for _, m in stack.webhook.messages if m["groupLabels"].get("run") == "ends"] == []
    status = json.loads(lrwatch("status", "ends", "--format", "json", "--state", stack.daemon.state).stdout)
    assert status["life"] == "ended"


def told_of_killed(stack: Stack) -> list[str]:
    """When each stall of the run that is killed began, as far as somebody was told."""
    told = stack.webhook.alerts("TrainingStalled", run="killed")
    return sorted({alert["startsAt"] for _, status, alert in told if status == "firing"})


def test_a_daemon_that_is_killed_wakes_somebody_and_its_runs_say_nothing_meanwhile(stack: Stack) -> None:
    # Of the second attempt too somebody has just been told.
    firing = 'ALERTS{alertname="TrainingStalled",run="killed",alertstate="firing"}'
    eventually(lambda: stack.server.query(firing), timeout=60, what="a stall")
    eventually(lambda: len(told_of_killed(stack)) == 2, timeout=60, what="both attempts")
    stack.daemon.end(signal.SIGKILL)
    before = len(stack.webhook.messages)
    stack.told("LrwatchDown", "firing")
    assert {receiver for receiver, _, _ in stack.webhook.alerts("LrwatchDown")} == {"pager"}
    after = [alert for _, message in stack.webhook.messages[before:] for alert in message["alerts"]]
    assert {alert["labels"]["alertname"] for alert in after if alert["status"] == "firing"} == {"LrwatchDown"}


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_what_a_page_says_of_silence_is_silence(stack: Stack, page: Path) -> None:
    (typed,) = re.findall(r"^\$ (amtool .+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    url = f"--alertmanager.url=http://{stack.alertmanager}"
    done = subprocess.run([*shlex.split(typed), url, "--author=anna"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    asked = subprocess.run(
        ["amtool", "silence", "query", f"alertname={page.stem}", url, "--output=json"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    (silence,) = json.loads(asked.stdout)
    assert silence["id"] == done.stdout.strip()
