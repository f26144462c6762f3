"""A run of any length leaves little on the disk, and the daemon misses nothing of it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.waiting import eventually

pytestmark = pytest.mark.slow

BOUND = 1 << 20
# Four times what has room in the two files.
STEPS = 40_000
PIECE = 2_000

TRAINER = """
import sys
import time
import lrwatch

watch = lrwatch.attach(None, sys.argv[1], poll_seconds=0.01, metrics_bytes=1 << 20)
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        watch.step(loss=2.0, accuracy=0.5)
    while watch._queue:  # what a full queue drops is another subject
        time.sleep(0.001)
    print(line, end="", flush=True)
watch.close()
print(watch.dropped, dict(watch.errors), flush=True)
"""


class Trainer:
    """A training that takes as many steps as it is told."""

    def __init__(self, run: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINER, str(run / "lrwatch")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def train(self, steps: int) -> None:
        assert self.process.stdin is not None
        print(steps, file=self.process.stdin, flush=True)
        assert self.line() == str(steps)

    def end(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.line()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = tmp_path / "runs" / "a"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def trainer(run: Path) -> Iterator[Trainer]:
    made = Trainer(run)
    with made.process:
        yield made
        made.process.kill()


def size(run: Path) -> int:
    return sum(path.stat().st_size for path in (run / "lrwatch").glob("metrics.jsonl*"))


def test_the_daemon_reads_each_row_once_while_the_file_is_rotated_and_it_is_killed(
    tmp_path: Path, run: Path, trainer: Trainer, request: pytest.FixtureRequest
) -> None:
    home = tmp_path / "daemon"
    daemon = DaemonProcess(home, run.parent)
    request.addfinalizer(lambda: daemon.end())
    taken = 0

    def all_read() -> bool:
        return daemon.value("lrwatch_ingest_lines_total", run="a") == taken

    for piece in range(STEPS // PIECE):
        trainer.train(PIECE)
        taken += PIECE
        if piece % 5 == 4:  # the file goes on, and may be rotated, while there is no daemon
            assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
            trainer.train(PIECE)
            taken += PIECE
            daemon = DaemonProcess(home, run.parent)
        eventually(all_read, timeout=60, what=f"{taken} lines are read")
        assert size(run) <= BOUND
    assert trainer.end() == "0 {}"
    eventually(all_read, timeout=60, what="nothing is read again")
    assert daemon.value("lrwatch_ingest_samples_total", run="a") == 4 * taken  # loss, accuracy, scale and time
    assert daemon.value("lrwatch_ingest_errors_total", run="a") in (0, None)
    assert daemon.end() == 0


def test_what_is_left_of_a_long_run_is_read_from_both_files(run: Path, trainer: Trainer) -> None:
    for _ in range(STEPS // PIECE):
        trainer.train(PIECE)
    assert trainer.end() == "0 {}"
    ended = lrwatch("read", run / "lrwatch" / "metrics.jsonl", "--format", "json")
    steps = [json.loads(line)["step"] for line in ended.stdout.splitlines()]
    assert steps == list(range(steps[0], STEPS + 1))
    assert len(steps) * 60 > BOUND // 2


@pytest.mark.skipif(shutil.which("strace") is None, reason="kills the training at a system call with strace")
def test_a_killed_training_leaves_nothing_that_the_next_one_does_not_remove(run: Path) -> None:
    for call in ("fsync", "rename,renameat,renameat2"):
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL"]
        ended = subprocess.run(
            [*trace, sys.executable, "-c", TRAINER, str(run / "lrwatch")],
            input="10\n" * 100,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == -signal.SIGKILL
    assert list((run / "lrwatch").glob(".observed.json.*.tmp"))
    trainer = Trainer(run)
    with trainer.process:
        trainer.train(1)
        assert trainer.end() == "0 {}"
    assert sorted(path.name for path in (run / "lrwatch").iterdir()) == ["metrics.jsonl", "observed.json"]
