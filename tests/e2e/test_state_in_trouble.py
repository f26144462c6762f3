"""A state that is locked, deleted, replaced or damaged while lrwatch runs: one sentence, the truth on /healthz, and an end in time."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.quadratic import Training
from support.waiting import eventually

pytestmark = pytest.mark.slow

# A stop is promised within two seconds; a machine that runs eight tests at once takes a little longer for anything.
PROMISED_SECONDS, SLACK = 2.0, 2.0


class Watched:
    """Two runs that grow, and a daemon that watches them."""

    def __init__(self, home: Path) -> None:
        self.home, self.trainings = home, [Training(), Training()]
        self.grow(50)
        self.daemon = DaemonProcess(home / "daemon", "--poll-seconds", "0.1", home / "runs")
        eventually(lambda: self.daemon.value("lrwatch_run_step") == 100, what="both runs")

    def grow(self, steps: int = 1) -> None:
        for name, training in zip("ab", self.trainings, strict=True):
            (self.home / "runs" / name).mkdir(parents=True, exist_ok=True)
            with (self.home / "runs" / name / "train.jsonl").open("a") as log:
                log.write(training.lines(steps))

    @property
    def database(self) -> Path:
        return self.daemon.state / "lrwatch.sqlite"

    def lines(self, words: str) -> list[str]:
        """The lines on standard error with these words."""
        return [line for line in self.daemon.stderr.splitlines() if words in line]

    def healthy(self, *, status: int) -> bool:
        """Whether /healthz has this status; the runs grow meanwhile."""
        self.grow()
        return self.daemon.get("/healthz")[0] == status


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.daemon.process.kill()
    made.daemon.process.wait()


def test_a_locked_state_is_said_once_for_all_runs_and_delays_no_stop(watched: Watched) -> None:
    assert [watched.database.stat().st_mode & 0o777, (watched.daemon.state / "lock").stat().st_mode & 0o777] == [
        0o600
    ] * 2
    with closing(sqlite3.connect(watched.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        eventually(lambda: watched.healthy(status=503), what="trouble")
        assert "database is locked; no command is sent" in watched.daemon.get("/healthz")[1]
        assert watched.daemon.get("/metrics")[0] == 200
        steps = watched.daemon.value("lrwatch_run_step") or 0
        eventually(lambda: watched.healthy(status=503) and (watched.daemon.value("lrwatch_run_step") or 0) > steps + 20)
        assert len(watched.lines("cannot save")) == 1
        assert len(watched.lines("state: cannot save")) == 1
        other.execute("ROLLBACK")
        eventually(lambda: watched.healthy(status=200), what="that it is over")
        assert len(watched.lines("state: it works again")) == 1

        other.execute("BEGIN IMMEDIATE")
        eventually(lambda: watched.healthy(status=503), what="trouble again")
        began = time.monotonic()
        assert watched.daemon.end() == 0
        assert time.monotonic() - began < PROMISED_SECONDS + SLACK
    assert "Traceback" not in watched.daemon.stderr


def test_a_state_that_is_deleted_ends_the_daemon_with_a_sentence(watched: Watched) -> None:
    shutil.rmtree(watched.daemon.state)
    assert watched.daemon.process.wait(20) == 4
    (line,) = watched.lines("was deleted while it was in use")
    assert "Start it again: it begins a new state" in line
    assert "Traceback" not in watched.daemon.stderr


def test_a_damaged_row_hides_no_other(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "train.jsonl").write_text(Training().lines(400))
    state = tmp_path / "state"
    assert lrwatch("run", tmp_path / "runs", "--once", "--state", state).returncode == 0
    with closing(sqlite3.connect(state / "lrwatch.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE status SET status = '[' WHERE run = 'a'")
        database.execute("UPDATE journal SET event = '{' WHERE id = (SELECT min(id) FROM journal WHERE run = 'a')")
    status = lrwatch("status", "--state", state)
    assert status.returncode == 0
    assert "\nb " in status.stdout
    assert "lrwatch: the status of run a is damaged and left out; a running daemon writes it again" in status.stderr
    journal = lrwatch("journal", "--state", state)
    assert journal.returncode == 4
    assert "of the journal is damaged" in journal.stderr
    assert "Traceback" not in status.stderr + journal.stderr


def test_a_state_that_was_cut_to_nothing_is_said_in_one_sentence_and_a_new_one_is_not(tmp_path: Path) -> None:
    state, runs = tmp_path / "state", tmp_path / "runs"
    (runs / "a").mkdir(parents=True)
    (runs / "a" / "train.jsonl").write_text(Training().lines(300))
    state.mkdir(mode=0o700)
    database = state / "lrwatch.sqlite"
    database.touch(mode=0o600)  # as a daemon leaves it that was killed the moment it began
    for fresh in (["status"], ["run", runs, "--once"]):
        said = lrwatch(*fresh, "--state", state)
        assert (said.returncode, "empty" in said.stderr) == (0, False), said.stderr

    with database.open("r+b") as file:
        file.truncate()
    words = f"state: the store in {state} is empty, and it had "
    for command in (["status"], ["status"], ["run", runs, "--once"]):
        said = lrwatch(*command, "--state", state)
        assert said.returncode == 0
        assert said.stderr.count(words) == 1, said.stderr
        assert "they are read again from their beginning, and a training keeps its scale" in said.stderr
    assert f"{state / 'journal-head.lost'} is kept as the evidence" in said.stderr
    told = lrwatch("status", "--state", state)
    assert words not in told.stderr
    assert " 300 " in told.stdout, "the log was read again"
