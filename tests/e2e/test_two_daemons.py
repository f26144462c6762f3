"""Two daemons on one run, with states of their own: the one that came last commands, and the other one takes over when it is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.quadratic import Training
from support.waiting import eventually

import lrwatch as package

pytestmark = pytest.mark.slow


def takeovers(daemon: DaemonProcess) -> list[dict[str, Any]]:
    printed = lrwatch("journal", "run", "--format", "json", "--state", daemon.state).stdout.splitlines()
    return [event for event in map(json.loads, printed) if event["event"] == "takeover"]


def fenced(daemon: DaemonProcess) -> bool:
    return daemon.value("lrwatch_run_fenced", run="run") == 1.0


def test_the_last_daemon_commands_and_the_first_one_takes_over_when_it_is_killed(tmp_path: Path) -> None:
    control = tmp_path / "run" / "lrwatch"
    control.parent.mkdir()
    (control.parent / "train.jsonl").write_text(Training().lines(60))
    first = last = None
    client = package.attach(print, control, poll_seconds=0.02, start_step=60, metrics_file=False)
    try:
        arguments: list[str | Path] = ["--mode", "auto", "--poll-seconds", "0.1", control.parent]
        first = DaemonProcess(tmp_path / "first", *arguments)
        eventually(lambda: first.value("lrwatch_controller_token") == 1, what="the first claim")
        last = DaemonProcess(tmp_path / "last", *arguments)
        eventually(lambda: last.value("lrwatch_controller_token") == 2, what="the second claim")
        eventually(lambda: fenced(first), what="that the first one noticed")
        assert not fenced(last)
        assert first.value("lrwatch_run_up", run="run") == 1.0
        words = f"another daemon commands this run (process {last.process.pid} on "
        eventually(lambda: first.stderr.count(words) == 1, what="a sentence")
        refused = lrwatch("set", "run", "--scale", "0.5", "--state", first.state)
        assert refused.returncode == 5
        assert words in refused.stderr
        assert not (control / "desired.json").exists()

        assert lrwatch("set", "run", "--scale", "0.5", "--state", last.state).returncode == 0
        (control / "desired.json").unlink(missing_ok=True)  # the trainer may have read it already
        eventually(lambda: client.step() or client.scale == 0.5, what="the scale of the last one")

        last.process.kill()
        last.process.wait()
        eventually(lambda: not fenced(first), what="that the first one took over")
        assert first.value("lrwatch_controller_token") == 3
        eventually(lambda: "run run: is commanded by this daemon again" in first.stderr, what="a sentence")
        eventually(
            lambda: client.step() or first.value("lrwatch_lr_scale", run="run") == 0.5,
            what="the scale that the other one has set",
        )
        assert lrwatch("set", "run", "--scale", "0.25", "--state", first.state).returncode == 0
        eventually(lambda: client.step() or client.scale == 0.25, what="the scale of the first one")
        assert json.loads((control / "desired.json").read_text())["token"] == 3
        assert first.end() == 0

        # Each journal says from when on which daemon commanded.
        claimed, killed = takeovers(last), last.process.pid
        assert [(event["commands"], event["token"]) for event in claimed] == [(True, 2)]
        assert f"in the place of process {first.process.pid} on " in claimed[0]["message"]
        lost, back = takeovers(first)
        assert (lost["commands"], lost["token"], back["commands"], back["token"]) == (False, 1, True, 3)
        assert lost["message"].startswith(f"process {killed} on ")
        assert f"commands again with token 3, in the place of process {killed} on " in back["message"]
        page = lrwatch("report", "run", "--state", first.state, "--output", tmp_path / "report.html")
        assert page.returncode == 0, page.stderr
        words = " ".join((tmp_path / "report.html").read_text().split())
        assert "Another daemon takes over:" in words
        assert "This daemon takes over:</b> this daemon commands again with token 3" in words
    finally:
        client.close()
        for daemon in (first, last):
            if daemon is not None:
                daemon.process.kill()
                daemon.process.wait()
