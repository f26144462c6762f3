"""The clock is set while the daemon runs: no time that passed is longer or shorter because of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.quadratic import Training
from support.waiting import eventually

import lrwatch
from lrwatch.config import load
from lrwatch.core.snapshot import RunStatus
from lrwatch.daemon.loop import Daemon
from lrwatch.store import Store

HOUR, YEAR = 3600.0, 365 * 86400.0


class Machine:
    """A daemon over one run with two logs, on a machine whose clock a test sets."""

    def __init__(self, home: Path) -> None:
        self.wall, self.ticks = 1.7e9, 50.0
        self.home, self.training, self.store = home, Training(), Store(home / "state")
        (home / "run").mkdir()
        self.write(20)
        config = load(flags={"watch.paths": (str(home / "run"),), "policy.mode": "auto"})
        self.daemon = Daemon(config, self.store, lambda _: None, clock=lambda: self.wall, monotonic=lambda: self.ticks)
        self.daemon.discover()

    def write(self, steps: int) -> None:
        lines = self.training.lines(steps)
        with (self.home / "run" / "train.jsonl").open("a") as log, (self.home / "run" / "copy.jsonl").open("a") as copy:
            log.write(lines)
            copy.write(lines)

    def pass_time(self, seconds: float, *, steps: int = 0) -> RunStatus:
        self.wall += seconds
        self.ticks += seconds
        if steps:
            self.write(steps)
        self.daemon.read_all()
        (status,) = self.daemon.snapshot().runs
        return status

    def found(self) -> list[str]:
        return [e.event["kind"] for e in self.store.journal() if e.event["event"] == "finding"]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    for _ in range(10):
        made.pass_time(10.0, steps=2)
    yield made
    made.daemon.close()
    made.store.close()


@pytest.mark.parametrize("seconds", [10 * HOUR, -HOUR, 10 * YEAR, -10 * YEAR])
def test_a_clock_that_is_set_makes_nobody_silent_and_hides_nobody_who_is(machine: Machine, seconds: float) -> None:
    machine.wall += seconds
    for _ in range(5):
        status = machine.pass_time(10.0)  # five of its gaps: nothing unusual
        assert status.life == "running"
    assert machine.found() == []
    assert machine.wall - (status.last_sample_time or 0.0) == pytest.approx(50.0)
    assert machine.pass_time(10.0, steps=2).last_sample_time == machine.wall
    for _ in range(60):
        status = machine.pass_time(60.0)
    assert machine.found() == ["stalled"]
    machine.pass_time(10 * HOUR)
    assert machine.pass_time(10 * HOUR).life == "lost"


def test_a_command_has_waited_as_long_as_it_has(machine: Machine, tmp_path: Path) -> None:
    client: Any = lrwatch.attach(print, tmp_path / "run" / "lrwatch", poll_seconds=60.0, metrics_file=False)
    try:
        eventually((tmp_path / "run" / "lrwatch" / "observed.json").exists, what="a hello")
        machine.pass_time(1.0, steps=2)
        machine.store.request("run", "anna", "set", "0.5", machine.wall)
        machine.pass_time(1.0)
        assert machine.pass_time(30.0).pending_seconds == pytest.approx(30.0)
        machine.wall += 10 * HOUR
        assert machine.pass_time(30.0).pending_seconds == pytest.approx(60.0)
        machine.wall -= 20 * HOUR
        assert machine.pass_time(30.0).pending_seconds == pytest.approx(90.0)
    finally:
        client.close()


def test_what_keeps_a_clock_right_changes_nothing(machine: Machine) -> None:
    machine.wall += 0.5
    before = machine.pass_time(0.0).last_sample_time
    assert machine.pass_time(1.0).last_sample_time == before
