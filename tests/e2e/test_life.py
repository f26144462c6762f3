"""The life of real trainings under a real daemon: they end, are killed, begin again, were finished long ago, are removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from support.daemon_process import DaemonProcess, lrwatch
from support.prometheus_server import prometheus
from support.quadratic import Training
from support.waiting import eventually

pytestmark = pytest.mark.slow

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules.yml"

# Trains as many steps as it is told, then does as it is told.
TRAINER = """
import sys
import lrwatch

watch = lrwatch.attach(None, sys.argv[1], poll_seconds=0.01)
print("ready", flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == "end":
        break
    if word == "fail":
        raise RuntimeError("out of memory")
    for _ in range(int(word)):
        watch.step(loss=1.0)
    print(word, flush=True)
"""


class Trainer:
    """A training in a process of its own, with `lrwatch.attach` and its metrics file, as the README says."""

    def __init__(self, run: Path) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINER, str(run / "lrwatch")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.says("ready")

    def says(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def train(self, steps: int) -> None:
        self.tell(str(steps))
        self.says(str(steps))

    def wait(self) -> None:
        self.process.communicate(timeout=30)


@pytest.fixture
def train() -> Iterator[Callable[[Path], Trainer]]:
    trainers: list[Trainer] = []

    def started(run: Path) -> Trainer:
        trainers.append(Trainer(run))
        return trainers[-1]

    yield started
    for trainer in trainers:
        trainer.process.kill()
        trainer.wait()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    daemons: list[DaemonProcess] = []

    def started(*arguments: str | Path) -> DaemonProcess:
        daemons.append(DaemonProcess(tmp_path / "home", "--poll-seconds", "0.1", *arguments))
        return daemons[-1]

    yield started
    for daemon in daemons:
        daemon.end()


def life(daemon: DaemonProcess, run: str) -> str | None:
    """What the run is in, as /metrics has it; None without the run."""
    lives = ("starting", "running", "ended", "lost", "finished", "removed")
    return next((life for life in lives if daemon.value("lrwatch_run_life", run=run, life=life)), None)


def status(daemon: DaemonProcess, run: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(lrwatch("status", run, "--format", "json", "--state", daemon.state).stdout)
    return found


def is_in(daemon: DaemonProcess, run: str, wanted: str | None) -> None:
    eventually(lambda: life(daemon, run) == wanted, what=f"{run} is {wanted}, {daemon.stdout} {daemon.stderr}")


def test_trainings_that_end_fail_and_are_killed_are_told_apart_and_each_begins_again(
    tmp_path: Path, train: Callable[[Path], Trainer], watch: Callable[..., DaemonProcess]
) -> None:
    runs = tmp_path / "runs"
    trainers = {name: train(runs / name) for name in ("ends", "fails", "killed")}
    for trainer in trainers.values():
        trainer.train(100)
    daemon = watch(runs)
    for name in trainers:
        is_in(daemon, name, "running")
        eventually(lambda name=name: daemon.value("lrwatch_run_step", run=name) == 100, what="all is read")  # type: ignore[misc]
    trainers["ends"].tell("end")
    trainers["fails"].tell("fail")
    trainers["killed"].process.send_signal(signal.SIGKILL)
    is_in(daemon, "ends", "ended")
    is_in(daemon, "fails", "lost")
    is_in(daemon, "killed", "lost")
    for name in trainers:
        eventually(lambda name=name: status(daemon, name)["life"] in ("ended", "lost"), what=name)  # type: ignore[misc]
    assert status(daemon, "ends")["life_note"] == "the program ended at step 100"
    assert status(daemon, "fails")["life_note"] == "an exception ended it at step 100"
    assert "is gone without a goodbye at step 100" in str(status(daemon, "killed")["life_note"])
    told = lrwatch("doctor", "--state", daemon.state).stdout.splitlines()
    assert [line.partition(". ")[2].partition(";")[0] for line in told] == [
        "Nothing to do", "See why, and start it again", "See why, and start it again"
    ]  # fmt: skip
    table = lrwatch("status", "--state", daemon.state).stdout
    assert "the program ended at step 100" in table
    assert "ended: the program ended at step 100" in daemon.stdout

    for name in trainers:
        trainers[name] = train(runs / name)
        is_in(daemon, name, "running")
        trainers[name].train(50)
    assert daemon.value("lrwatch_findings_total", kind="stalled") == 0
    assert status(daemon, "ends").keys() >= {"life", "life_since", "life_note"}
    (runs / "fails").rename(tmp_path / "taken away")  # its trainer, still running, makes it again
    trainers["fails"].tell("end")
    trainers["fails"].wait()
    shutil.rmtree(runs / "fails")
    is_in(daemon, "fails", None)
    assert life(daemon, "ends") == "running"
    journal = lrwatch("journal", "fails", "--state", daemon.state).stdout
    assert "removed: its files are gone" in journal


def finished(run: Path, written: float) -> None:
    """A log of 4,000 lines with a loss in the middle that is no number, written to long ago."""
    run.mkdir(parents=True)
    lines = Training().lines(4000).splitlines(keepends=True)
    lines[2000] = '{"step": 2001, "loss": NaN, "lr": 0.1}\n'
    (run / "train.jsonl").write_text("".join(lines))
    os.utime(run / "train.jsonl", (written, written))


def quick_rules(path: Path) -> Path:
    """The shipped rules, with every alert on a run firing at once: what it would say after its wait. A busy machine is late at times."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            if rule.get("alert") != "LrwatchDown":
                rule.pop("for", None)
    path.write_text(yaml.safe_dump(rules), encoding="utf-8")
    return path


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus")
def test_a_finished_directory_of_40_logs_raises_no_alert_and_a_live_one_beside_it_does(
    tmp_path: Path, watch: Callable[..., DaemonProcess]
) -> None:
    runs = tmp_path / "runs"
    month_ago = time.time() - 30 * 86_400
    for i in range(40):
        finished(runs / f"o{i:02}", month_ago)
    (runs / "live").mkdir()
    (runs / "live" / "train.jsonl").write_text(Training().lines(200))
    (folder := tmp_path / "prometheus").mkdir()
    daemon = watch(runs)
    address = daemon.address.removeprefix("http://")
    with prometheus(folder, [address], quick_rules(tmp_path / "rules.yml")) as server:
        # Prometheus sees the backlog being read: what it holds must be no increase.
        eventually(
            lambda: sum(x["value"][1] == "1" for x in server.query('lrwatch_run_life{life="finished"}')) == 40,
            timeout=120,
            what="40 finished runs",
        )
        eventually(
            lambda: len(server.query("count_over_time(lrwatch_run_step[5s]) >= 3")) == 41, timeout=60, what="scrapes"
        )
        with (runs / "live" / "train.jsonl").open("a") as log:
            log.write('{"step": 201, "loss": NaN, "lr": 0.1}\n{"step": 202, "loss": 1.5, "lr": 0.1}\n')
        firing = eventually(
            lambda: server.query('ALERTS{alertname="LossNotFinite",alertstate="firing"}'), timeout=60, what="an alert"
        )
        assert {alert["metric"]["run"] for alert in firing} == {"live"}
        fired = server.query("count by (alertname, run) (last_over_time(ALERTS[10m]))")
        assert [(a["metric"]["alertname"], a["metric"].get("run")) for a in fired] == [("LossNotFinite", "live")]
        (age,) = server.query('time() - lrwatch_run_last_sample_timestamp_seconds{run="o00"}')
        assert float(age["value"][1]) == pytest.approx(30 * 86_400, abs=600)
    journal = lrwatch("journal", "o00", "--state", daemon.state).stdout
    assert "non-finite: " in journal
    assert "before lrwatch looked" in journal
