"""`lrwatch run` as a process: what it serves, how it ends, and how operators reach it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.quadratic import Training
from support.waiting import eventually

from lrwatch import attach
from lrwatch.client import Client

pytestmark = pytest.mark.slow

Start = Callable[..., DaemonProcess]

# The contract gives two seconds; a test on a machine that is busy with others gives more.
END_SECONDS = 10.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts daemons on one state directory, and ends those that a test leaves."""
    started: list[DaemonProcess] = []

    def run(*arguments: str | Path) -> DaemonProcess:
        started.append(DaemonProcess(tmp_path / "daemon", "--poll-seconds", "0.05", *arguments))
        return started[-1]

    yield run
    for daemon in started:
        daemon.end(signal.SIGKILL)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 100 steps."""
    path = tmp_path / "train.jsonl"
    path.write_text(Training().lines(100))
    return path


def has(daemon: DaemonProcess, name: str, value: float, run: str = "train") -> bool:
    return daemon.value(name, run=run) == value


def after_a_step(client: Client, check: Callable[[], bool]) -> bool:
    client.step()
    return check()


def test_it_names_its_address_serves_and_ends_on_sigterm_with_its_state_saved(start: Start, log: Path) -> None:
    daemon = start(log)
    eventually(partial(has, daemon, "lrwatch_ingest_samples_total", 200.0), what="all samples")
    assert daemon.stderr.partition("\n")[0] == f"listening on {daemon.address}"
    assert daemon.get("/healthz") == (200, "ok\n")
    assert daemon.get("/readyz") == (200, "ok\n")
    assert "train" in daemon.get("/")[1]
    assert daemon.get("/nonsense")[0] == 404
    assert has(daemon, "lrwatch_run_up", 1)
    assert has(daemon, "lrwatch_run_step", 100)
    assert has(daemon, "lrwatch_ingest_bytes_total", log.stat().st_size)
    assert has(daemon, "lrwatch_ingest_lag_bytes", 0)
    began = time.monotonic()
    assert daemon.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < END_SECONDS
    status = json.loads(lrwatch("status", "--state", daemon.state, "--format", "json").stdout)
    assert (status["step"], status["samples"]) == (100, 200)
    assert daemon.stdout == ""
    again = start(log)
    eventually(partial(has, again, "lrwatch_ingest_samples_total", 200.0), what="the counts go on")


def test_ctrl_c_ends_it_with_130_and_no_traceback(start: Start, log: Path) -> None:
    daemon = start(log)
    eventually(partial(has, daemon, "lrwatch_run_up", 1.0), what="a first turn")
    assert daemon.end(signal.SIGINT) == 130
    assert "Traceback" not in daemon.stderr


def test_sigterm_right_behind_the_first_line_is_heard(start: Start, log: Path) -> None:
    daemon = start(log)
    assert daemon.address
    assert daemon.end(signal.SIGTERM) == 0
    assert "Traceback" not in daemon.stderr


def test_sigterm_in_the_middle_of_a_long_backlog_is_heard_and_what_was_read_is_saved(
    start: Start, tmp_path: Path
) -> None:
    log = tmp_path / "train.jsonl"
    log.write_text(Training().lines(150_000))
    daemon = start(log)
    eventually(lambda: daemon.value("lrwatch_ingest_bytes_total", run="train"), what="it has begun to read")
    began = time.monotonic()
    assert daemon.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < END_SECONDS
    status = json.loads(lrwatch("status", "--state", daemon.state, "--format", "json").stdout)
    assert status["bytes"] + status["lag_bytes"] == log.stat().st_size
    finished = lrwatch("run", "--once", "--state", daemon.state, log)
    assert finished.returncode == 0
    status = json.loads(lrwatch("status", "--state", daemon.state, "--format", "json").stdout)
    assert (status["samples"], status["lag_bytes"]) == (300_000, 0)


def test_what_is_missing_is_told_once_and_so_is_that_it_came(start: Start, tmp_path: Path) -> None:
    daemon = start(tmp_path / "later.log", tmp_path / "runs" / "*.csv")
    eventually(lambda: "later.log does not exist yet" in daemon.stderr, what="what is missing")
    assert has(daemon, "lrwatch_run_up", 0.0, "later")
    (tmp_path / "later.log").write_text(Training().lines(10))
    eventually(partial(has, daemon, "lrwatch_run_up", 1.0, "later"), what="it is read")
    eventually(lambda: "run later: can be read now" in daemon.stderr, what="that it came")
    assert daemon.stderr.count("does not exist yet") == 1
    assert daemon.stderr.count("no file or directory matches this pattern yet") == 1


def test_events_are_printed_as_they_come_for_people_and_for_programs(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl"
    log.write_text(Training().lines(700))
    daemon = start(log)
    eventually(lambda: "plateau: loss " in daemon.stdout, what="the finding")
    eventually(lambda: daemon.stdout.count("\n") == 2, what="the command that it leads to")
    daemon.end()
    log.write_text("")
    other = start(log, "--format", "json", "--state", tmp_path / "other")
    log.write_text(Training().lines(700))
    eventually(lambda: other.stdout.count("\n") == 2, what="two events")
    events = [json.loads(line) for line in other.stdout.splitlines()]
    assert [(event["event"], event["id"]) for event in events] == [("finding", 2), ("command", 3)]


def test_a_second_daemon_on_the_same_state_is_refused(start: Start, log: Path) -> None:
    daemon = start(log)
    eventually(partial(has, daemon, "lrwatch_run_up", 1.0), what="a first turn")
    second = lrwatch("run", "--once", "--state", daemon.state, log)
    assert second.returncode == 4
    assert f"process {daemon.process.pid} holds it" in second.stderr
    assert has(daemon, "lrwatch_run_up", 1.0)


def test_an_address_in_use_is_refused_before_anything_is_read(tmp_path: Path, log: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = lrwatch("run", "--state", tmp_path / "state", "--listen", address, log)
    assert ended.returncode == 4
    assert ended.stderr.startswith(f"lrwatch: {address}: expected an address that is free")


def test_a_daemon_whose_output_nobody_reads_any_more_goes_on(tmp_path: Path, log: Path) -> None:
    state = tmp_path / "state"
    log.write_text(Training().lines(700))
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "lrwatch", "run", "--listen", "127.0.0.1:0", "--state", str(state), str(log)]
    process = subprocess.Popen(command, stdout=writing, stderr=writing)
    os.close(writing)
    try:

        def read() -> bool:
            ended = lrwatch("status", "--state", state, "--format", "json")
            return bool(ended.stdout) and json.loads(ended.stdout)["samples"] == 1400

        eventually(read, what="the status of a run that was read")
        assert process.poll() is None
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_operators_act_on_a_running_daemon_and_bounds_end_with_5(start: Start, tmp_path: Path, log: Path) -> None:
    daemon = start(log)
    eventually(partial(has, daemon, "lrwatch_run_up", 1.0), what="a first turn")
    state = ("--state", daemon.state)
    unheard = lrwatch("set", "train", "--scale", "0.5", *state)
    assert (unheard.returncode, unheard.stdout) == (5, "")
    assert "set train: refused: no trainer listens" in unheard.stderr
    used: list[float] = []
    with attach(used.append, tmp_path / "lrwatch", poll_seconds=0.01, metrics_file=False) as client:
        eventually(lambda: "hello" in lrwatch("journal", *state, "--format", "json").stdout, what="a hello")
        refused = lrwatch("set", "train", "--scale", "3", *state)
        assert (refused.returncode, refused.stdout) == (5, "")
        assert refused.stderr == (
            "lrwatch: set train: refused: scale 3 is outside 0.001 to 1 ([policy] min_scale, max_scale); give one between them, "
            "or change these settings and start the daemon again.\n"
        )
        done = lrwatch("set", "train", "--scale", "0.5", *state)
        assert (done.returncode, done.stdout) == (0, "train: scale 0.5 is on its way\n")
        eventually(partial(after_a_step, client, partial(has, daemon, "lrwatch_lr_scale", 0.5)), what="acknowledged")
        assert used == [0.5]
        applied = {"reason": "operator", "state": "applied"}
        counted = partial(daemon.value, "lrwatch_commands_total", run="train", **applied)
        eventually(lambda: counted() == 1.0, what="the count")
        undone = lrwatch("undo", "train", *state, "--format", "json")
        assert json.loads(undone.stdout) == {
            "v": 1, "run": "train", "verb": "undo", "done": True, "text": "scale 1 is on its way",
        }  # fmt: skip
        eventually(partial(after_a_step, client, partial(has, daemon, "lrwatch_lr_scale", 1.0)), what="acknowledged")
    assert lrwatch("hold", "train", *state).returncode == 0
    assert lrwatch("resume", "train", *state).returncode == 0
    for verb in ("approve", "deny"):
        assert lrwatch(verb, "train", "1", *state).returncode == 5
    journal = [json.loads(line) for line in lrwatch("journal", *state, "--format", "json").stdout.splitlines()]
    requests = [(event["verb"], event["done"]) for event in journal if event["event"] == "operator"]
    assert requests == [
        ("set", False), ("set", False), ("set", True), ("undo", True), ("hold", True), ("resume", True),
        ("approve", False), ("deny", False),
    ]  # fmt: skip
    assert lrwatch("journal", *state).returncode == 0, "the chain holds"
