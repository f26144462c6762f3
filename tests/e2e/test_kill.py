"""kill -9 at any point: what the journal says of a run is what an uninterrupted daemon would have said, no more, no less.

A trainer in a process of its own takes steps on request and answers commands by itself; the daemon is killed
behind its back. The test goes in lock step (it waits until a piece of the log is read, a command accepted, an answer
journalled), so that the two courses differ in nothing but the kills.
"""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.waiting import eventually

from lrwatch.control.directory import ControlDirectory

pytestmark = pytest.mark.slow

# Steps of a piece, and pieces: the learning rate is turned down in them, back, and down again.
PIECE = 300
PIECES = 56

KILLS = 8

# The longest that a kill comes behind what it is to interrupt: reading, deciding, saving and sending take a few milliseconds.
MOST_DELAY = 0.03

TRAINER = """
import sys
from support.quadratic import Training
import lrwatch

training = Training()

def use(scale):
    training.scale = scale

client = lrwatch.attach(use, sys.argv[2], poll_seconds=0.005, metrics_file=False)
held = []
print("ready", flush=True)
for line in sys.stdin:
    if line.startswith("log"):
        with open(sys.argv[1], "a") as log:
            log.write("".join(held))
        held.clear()
    else:
        for _ in range(int(line)):
            held.append(training.lines(1))
            client.step(training.done)
    print(training.done, training.scale, flush=True)
client.close()
"""


class Trainer:
    """A training in a process of its own: it takes steps, and writes them to its log, on request."""

    def __init__(self, log: Path) -> None:
        self.control = ControlDirectory(log.parent / "lrwatch")
        command = [sys.executable, "-c", TRAINER, str(log), str(self.control.path)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
        )
        self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def take(self, steps: int) -> None:
        """Take steps and keep their records back."""
        self._say(str(steps))

    def log(self) -> None:
        """Write the records."""
        self._say("log")

    def _say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        assert self._answer(), "the trainer died"

    def answered(self, generation: int, status: str) -> bool:
        """Whether it says so of the command with this number."""
        observed = self.control.read_observed()
        return observed is not None and (observed.observed_generation, observed.status) == (generation, status)

    def end(self) -> None:
        """End it, and wait."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


class Course:
    """One run of the trainer under a daemon that may be killed at any time."""

    def __init__(self, home: Path, interrupt: Callable[[Course], None]) -> None:
        home.mkdir()
        self.home, self.log = home, home / "train.jsonl"
        self.log.write_bytes(b"")
        self.trainer = Trainer(self.log)
        self.kills = 0
        self._interrupt = interrupt
        self.daemon = self._start()

    def _start(self) -> DaemonProcess:
        return DaemonProcess(self.home / "daemon", "--mode", "auto", "--poll-seconds", "0.01", self.log)

    def kill(self) -> None:
        """Kill the daemon, and restart it."""
        assert self.daemon.process.poll() is None, self.daemon.stderr
        assert self.daemon.end(signal.SIGKILL) == -signal.SIGKILL
        self.kills += 1
        self.daemon = self._start()

    def end(self) -> None:
        """End both processes."""
        self.daemon.end()
        self.trainer.end()

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the daemon's database, if it is there already."""
        path = self.daemon.state / "lrwatch.sqlite"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=10)) as database:
            try:
                return database.execute(query).fetchall()
            except sqlite3.OperationalError:  # its tables are not there yet
                return []

    def journalled(self, event: str) -> int:
        """How many entries of a kind the journal has."""
        kind = "json_extract(event, '$.event')"
        return next((count for (count,) in self.query(f"SELECT count(*) FROM journal WHERE {kind} = '{event}'")), 0)

    def has_read(self) -> bool:
        """Whether all of the log is read, and what came of it saved."""
        marks = [msgspec.msgpack.decode(state)["tail"]["bookmark"] for (state,) in self.query("SELECT state FROM logs")]
        return bool(marks) and marks[0]["offset"] == self.log.stat().st_size

    def go(self) -> list[dict[str, Any]]:
        """Take all pieces. -> the journal."""
        eventually(lambda: self.journalled("hello"), timeout=60, what="a hello")
        for _ in range(PIECES):
            self.trainer.take(PIECE)
            self.trainer.log()
            self._interrupt(self)
            eventually(self.has_read, timeout=60, what="the piece is read")
            if (commands := self.journalled("command")) > self.journalled("acknowledged"):
                self._interrupt(self)
                eventually(
                    partial(self.trainer.answered, commands, "pending"), timeout=60, what="the command is accepted"
                )
                self._interrupt(self)
                self.trainer.take(2)
                eventually(
                    partial(self.trainer.answered, commands, "applied"), timeout=60, what="the command is applied"
                )
                self._interrupt(self)
                eventually(lambda: self.journalled("acknowledged") == commands, timeout=60, what="it is journalled")
        self.trainer.log()
        eventually(self.has_read, timeout=60, what="the end is read")
        assert self.daemon.end() == 0
        ended = lrwatch("journal", "--state", self.daemon.state, "--format", "json")
        assert ended.returncode == 0, ended.stderr
        return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.fixture
def course(tmp_path: Path) -> Iterator[Callable[..., Course]]:
    """Makes courses."""
    made: list[Course] = []

    def make(interrupt: Callable[[Course], None]) -> Course:
        made.append(Course(tmp_path / f"course{len(made)}", interrupt))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_a_daemon_killed_at_many_points_finds_commands_and_journals_the_same(course: Callable[..., Course]) -> None:
    calm = course(lambda _: None).go()
    counts = Counter(event["event"] for event in calm)
    assert counts["hello"] == 1
    assert counts["command"] == counts["acknowledged"] >= 4, counts
    assert counts["effect"] >= 1

    # Of the pieces, and of the moments around commands, chosen at random; each kill comes a random moment later.
    chance = random.Random(2024)
    moments = set(chance.sample(range(PIECES + 3 * counts["command"]), KILLS))
    moment = iter(range(1000))

    def interrupt(running: Course) -> None:
        if next(moment) in moments:
            time.sleep(chance.uniform(0.0, MOST_DELAY))
            running.kill()

    killed = course(interrupt)
    journal = killed.go()
    assert killed.kills == KILLS
    volatile = {"time", "hash"}
    assert [{key: value for key, value in event.items() if key not in volatile} for event in journal] == [
        {key: value for key, value in event.items() if key not in volatile} for event in calm
    ]
