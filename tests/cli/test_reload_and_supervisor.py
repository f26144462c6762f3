"""SIGHUP reads the settings again, and a supervisor is told how the daemon stands: real processes and a real socket."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.notify_socket import NotifySocket
from support.quadratic import Training
from support.waiting import eventually

pytestmark = pytest.mark.slow

SETTINGS = """
[watch]
paths = ["{paths}"]

[policy]
mode = "{mode}"

[operators]
allow = [{operators}]
"""

Start = Callable[..., DaemonProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts daemons with a configuration file, and ends those that a test leaves."""
    started: list[DaemonProcess] = []

    def run(*arguments: str | Path, before: tuple[str, ...] = ()) -> DaemonProcess:
        started.append(DaemonProcess(tmp_path / "daemon", *arguments, before=before))
        return started[-1]

    yield run
    for daemon in started:
        daemon.end(signal.SIGKILL)


def settings(folder: Path, paths: str, mode: str, operators: str = "") -> Path:
    file = folder / "lrwatch.toml"
    file.write_text(SETTINGS.format(paths=paths, mode=mode, operators=operators))
    return file


def says(daemon: DaemonProcess, text: str) -> bool:
    return text in daemon.stderr


def journalled_modes(daemon: DaemonProcess) -> list[str]:
    ended = lrwatch("journal", "a", "--state", daemon.state, "--format", "json")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    return [event["policy"]["mode"] for event in events if event["event"] == "settings"]


def test_what_can_change_changes_and_what_cannot_is_said(tmp_path: Path, start: Start) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(Training().lines(100))
    file = settings(tmp_path, "a.jsonl", "observe")
    with closing(NotifySocket(tmp_path / "notify")) as supervisor:
        daemon = start("--config", file, before=("env", f"NOTIFY_SOCKET={supervisor.path}", "WATCHDOG_USEC=2000000"))
        eventually(lambda: daemon.value("lrwatch_run_step", run="a") == 100)
        eventually(lambda: supervisor.hears("READY=1"))
        eventually(lambda: supervisor.hears("STATUS=runs watched: 1"))
        eventually(lambda: supervisor.hears("WATCHDOG=1", times=3))

        settings(tmp_path, "?.jsonl", "suggest", operators='"nobody"')
        file.write_text(file.read_text() + '\n[daemon]\nstate = "elsewhere"\n\n[export]\nmax_series = 5000\n')
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: daemon.value("lrwatch_run_step", run="b") == 100)
        assert daemon.value("lrwatch_run_info", run="a", mode="suggest") == 1
        assert daemon.value("lrwatch_run_step", run="a") == 100
        assert daemon.value("lrwatch_ingest_samples_total", run="a") == daemon.value(
            "lrwatch_ingest_samples_total", run="b"
        )
        assert "settings read again: policy.mode: 'observe' -> 'suggest'" in daemon.stderr
        assert "settings read again: operators.allow: () -> ('nobody',)" in daemon.stderr
        assert "settings read again: export.max_series has changed, and needs a restart" in daemon.stderr
        assert "daemon.state" not in daemon.stderr  # the flag has the last word, so nothing has changed
        eventually(lambda: supervisor.hears("READY=1", times=2))
        assert supervisor.heard.index("RELOADING=1") < len(supervisor.heard) - supervisor.heard[::-1].index("READY=1")
        eventually(lambda: supervisor.hears("STATUS=runs watched: 2"))

        assert daemon.end() == 0
        assert supervisor.hears("STOPPING=1")
    assert journalled_modes(daemon) == ["observe", "suggest"]


def test_settings_that_cannot_be_used_leave_all_as_it_is(tmp_path: Path, start: Start) -> None:
    (tmp_path / "a.jsonl").write_text(Training().lines(100))
    file = settings(tmp_path, "a.jsonl", "suggest")
    daemon = start("--config", file, before=("env", "NOTIFY_SOCKET=/nowhere/notify"))
    eventually(lambda: daemon.value("lrwatch_run_step", run="a") == 100)
    for broken, said in (
        ('[policy]\nmode = "outo"', "Did you mean 'auto'?"),
        ("[policy", "expected TOML"),
        ("", "at least one file, directory or glob"),
        ('[watch]\npaths = ["a.jsonl"]\n[daemon]\nkey_file = "none"', "expected a file with a key"),
    ):
        file.write_text(broken)
        daemon.process.send_signal(signal.SIGHUP)
        eventually(partial(says, daemon, said), what=said)
        assert "the settings stay as they were: " in daemon.stderr
    assert "lrwatch cannot report to the supervisor" in daemon.stderr  # and that ends nothing
    settings(tmp_path, "a.jsonl", "suggest")
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: "settings read again: nothing has changed" in daemon.stderr)
    with (tmp_path / "a.jsonl").open("a") as log:
        log.write('{"step": 101, "loss": 1.0}\n')
    eventually(lambda: daemon.value("lrwatch_run_step", run="a") == 101)


def test_standard_input_is_not_given_up(tmp_path: Path, start: Start) -> None:
    file = tmp_path / "lrwatch.toml"
    file.write_text("")
    daemon = start("--config", file, "-")
    eventually(lambda: daemon.get("/readyz")[0] == 200)
    file.write_text('[policy]\nmode = "observe"\n')
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: "found standard input" in daemon.stderr)
    assert daemon.process.poll() is None


def test_a_daemon_whose_terminal_goes_away_ends_with_its_state_saved(tmp_path: Path, start: Start) -> None:
    (tmp_path / "a.jsonl").write_text(Training().lines(100))
    terminal, other_end = os.openpty()
    # setsid makes the terminal that of a session of its own, as a shell in a window has it.
    within = f'exec setsid --ctty "$@" <{os.ttyname(other_end)}'
    daemon = start(tmp_path / "a.jsonl", before=("sh", "-c", within, "sh"))
    os.close(other_end)
    try:
        eventually(lambda: daemon.value("lrwatch_run_step", run="a") == 100)
    finally:
        os.close(terminal)
    assert daemon.process.wait(20) == 0
    assert lrwatch("status", "a", "--state", daemon.state).returncode == 0
