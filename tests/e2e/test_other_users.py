"""A daemon that may not read everybody's runs, as the shipped system unit: it says so of each, and watches the others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.quadratic import Training
from support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv"),
]

SOMEBODY = 12345

TRAINER = """
import sys
import lrwatch

with lrwatch.attach(None, sys.argv[1], poll_seconds=0.01) as watch:
    for step in range(50):
        watch.step(loss=2.0 - step / 100)
"""


def train_as_somebody(run: Path) -> None:
    """Train as the README says, with `lrwatch.attach` and nothing else, and give all of it to another user."""
    run.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", TRAINER, str(run / "lrwatch")], check=True, timeout=60)
    for path in (run, *run.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    assert (run / "lrwatch").stat().st_mode & 0o777 == 0o700


def write(run: Path, steps: int = 50) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / "train.jsonl").write_text(Training().lines(steps))


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    """Starts the daemon as root without root's rights."""
    daemons: list[DaemonProcess] = []

    def started(*paths: Path) -> DaemonProcess:
        without_rights = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-chown,-fowner"]
        daemons.append(DaemonProcess(tmp_path / "home", *paths, before=without_rights))
        return daemons[-1]

    yield started
    for daemon in daemons:
        assert daemon.end() == 0, daemon.stderr


def test_private_runs_of_others_are_not_readable_and_the_rest_is_watched(
    tmp_path: Path, watch: Callable[..., DaemonProcess]
) -> None:
    runs = tmp_path / "runs"
    write(runs / "good")
    train_as_somebody(runs / "private")
    daemon = watch(runs)
    eventually(lambda: daemon.value("lrwatch_run_step", run="good") == 50, what="the run that can be read")
    assert daemon.value("lrwatch_run_up", run="good") == 1
    # The word of its trainer is waited for, for a few looks, before its log is tried.
    eventually(lambda: daemon.value("lrwatch_run_up", run="private") == 0, what="the run that cannot be read")
    assert daemon.value("lrwatch_watch_path_up", path=str(runs)) == 1

    train_as_somebody(runs / "later")  # while it runs
    (runs / "closed").mkdir()
    write(runs / "closed")
    os.chown(runs / "closed", SOMEBODY, SOMEBODY)
    (runs / "closed").chmod(0o700)  # not the control directory alone
    for name in ("later", "closed"):
        eventually(lambda name=name: daemon.value("lrwatch_run_up", run=name) == 0, what=name)  # type: ignore[misc]
    write(runs / "good", 80)
    eventually(lambda: daemon.value("lrwatch_run_step", run="good") == 80, what="the run goes on")
    for name in ("private", "later", "closed"):
        said = f"run {name}: {runs}/{name}/lrwatch/metrics.jsonl may not be read by this user"
        assert daemon.stderr.count(said) == 1, daemon.stderr
    assert daemon.value("lrwatch_ingest_errors_total", run="private", reason="EACCES") == 1
    assert "may not be read" in lrwatch("status", "--state", daemon.state).stdout

    for path in (runs / "private", *(runs / "private").rglob("*")):
        os.chown(path, 0, 0)
    eventually(lambda: daemon.value("lrwatch_run_step", run="private") == 50, what="what may be read now")
    assert daemon.value("lrwatch_run_up", run="private") == 1


def test_a_log_that_may_be_read_is_watched_though_its_trainer_cannot_be_heard(
    tmp_path: Path, watch: Callable[..., DaemonProcess]
) -> None:
    run = tmp_path / "runs" / "half"
    train_as_somebody(run)
    write(run)
    daemon = watch(tmp_path / "runs")
    eventually(lambda: daemon.value("lrwatch_run_step", run="half") == 50, what="its log")
    assert daemon.value("lrwatch_run_up", run="half") == 1
    said = f"half (control): {run}/lrwatch cannot be read (Permission denied), so this trainer is not heard"
    eventually(lambda: said in daemon.stderr, what=said)
    assert daemon.value("lrwatch_run_faults_total", run="half", kind="message") == 1
    assert daemon.stderr.count(said) == 1


def test_a_watched_path_that_may_not_be_read_is_down_and_its_neighbour_is_watched(
    tmp_path: Path, watch: Callable[..., DaemonProcess]
) -> None:
    private, runs = tmp_path / "private", tmp_path / "runs"
    write(private / "a")
    os.chown(private, SOMEBODY, SOMEBODY)
    private.chmod(0o700)
    write(runs / "good")
    daemon = watch(private, runs)
    eventually(lambda: daemon.value("lrwatch_run_step", run="good") == 50, what="the run that can be read")
    assert daemon.value("lrwatch_watch_path_up", path=str(private)) == 0
    assert daemon.value("lrwatch_watch_path_up", path=str(runs)) == 1
    assert f"{private}: cannot be listed (Permission denied)" in daemon.stderr
