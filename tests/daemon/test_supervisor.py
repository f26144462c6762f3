"""What a supervisor is told, and how settings that changed are told apart."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from support.notify_socket import NotifySocket

from lrwatch.config import keys, load
from lrwatch.daemon.reload import changes
from lrwatch.daemon.supervisor import Supervisor


def test_without_a_supervisor_nobody_is_told_and_nothing_waits() -> None:
    alone = Supervisor({})
    alone.turned("runs watched: 1")
    alone.stopping()
    assert alone.interval == float("inf")
    assert alone.problem == ""


def test_the_first_turn_is_ready_and_a_reload_begins_anew(tmp_path: Path) -> None:
    with closing(NotifySocket(tmp_path / "notify")) as systemd:
        supervisor = Supervisor({"NOTIFY_SOCKET": str(systemd.path)})
        supervisor.turned("runs watched: 1")
        supervisor.turned("runs watched: 1")
        supervisor.reloading()
        supervisor.turned("runs watched: 2")
        supervisor.stopping()
        supervisor.close()
        assert systemd.hears("STOPPING=1")
        told = [line for line in systemd.heard if not line.startswith("MONOTONIC_USEC=")]
        assert told == [
            "READY=1", "WATCHDOG=1", "STATUS=runs watched: 1", "RELOADING=1", "READY=1", "STATUS=runs watched: 2", "STOPPING=1",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "120000000"}, 30.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "1"}, float("inf")),
        ({"WATCHDOG_USEC": "0"}, float("inf")),
        ({"WATCHDOG_USEC": "soon"}, float("inf")),
    ],
)
def test_turns_come_four_times_as_often_as_the_watchdog_wants(environ: dict[str, str], seconds: float) -> None:
    assert Supervisor(environ).interval == seconds


@pytest.mark.parametrize("address", ["vsock:2:1", "/nowhere/notify", "@nobody-listens-here"])
def test_an_address_that_cannot_be_used_is_a_problem_and_no_error(address: str) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": address})
    assert address.lstrip("@") in supervisor.problem
    supervisor.turned("runs watched: 1")


def test_every_key_is_taken_up_or_needs_a_restart() -> None:
    assert changes(load(), load()) == changes(load(flags={"daemon.listen": "127.0.0.1:9767"}), load())
    found = changes(load(), load(flags={"daemon.listen": "127.0.0.1:1", "daemon.state": "s", "policy.mode": "auto"}))
    assert found.now == ("policy.mode: 'suggest' -> 'auto'",)
    assert found.at_start == ("daemon.listen", "daemon.state")
    assert {"daemon.listen", "policy.mode"} <= set(keys())
