"""Whether anything grows in a long life: a daemon behind a log of any length, a client of any number of steps, a journal of any size.

Three parts, each a process of its own that does as much work as it can: `lrwatch run` follows a log that grows and is rotated; a training
takes steps with metrics; a store takes journal entries. At forty points of each the resident memory, the open descriptors, the threads
and the size of the directory are measured. What counts is the second part of the points, behind the warm-up: the line through the memory
there, with the 95 % interval of its slope.

A part fails if its memory surely grows: the whole interval is above 0, and it grew by more than the tolerance. It fails as well if
descriptors or threads grow, or the directory exceeds its bound. The exit code is 1 then.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from support.daemon_process import DaemonProcess
from support.waiting import eventually

from lrwatch.journal import JournalOptions
from lrwatch.store import Store

POINTS = 40
# Points that are no warm-up.
COUNTED = 24
# The interval of the slope is that of so many means of neighbouring points: points themselves depend on each other.
BLOCKS = 8
T_95 = 2.447  # of Student's t with BLOCKS - 2 degrees of freedom
# A log is rotated when it has grown by so many lines.
ROTATED_LINES = 200_000
METRICS_BYTES = 1 << 20
IN_STORE, FILES = 5_000, 4

NORMAL = (10**7, 2 * 10**6, 10**5)
LONG = (10**8, 10**7, 10**6)

CLIENT = """
import sys, time
import lrwatch
watch = lrwatch.attach(None, sys.argv[1], poll_seconds=0.02, metrics_bytes=int(sys.argv[2]))
for line in sys.stdin:
    for _ in range(int(line)):
        watch.step(loss=2.0, accuracy=0.5)
        if len(watch._queue) > 2000:
            while watch._queue:
                time.sleep(0.0005)
    print(flush=True)
watch.close()
print(watch.dropped, dict(watch.errors), flush=True)
"""

JOURNAL = """
import sys
from pathlib import Path
from soak import fill
fill(Path(sys.argv[1]))
"""


@dataclass(frozen=True)
class Point:
    """What a process uses after `done` units of work: bytes of memory, descriptors, threads, and bytes of its directory."""

    done: int
    memory: int
    descriptors: int
    threads: int
    directory: int


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
        part: Its name. work: What was done.
        slope, error: Bytes of memory a unit of work, and half of the 95 % interval.
        grown: Bytes that the memory grew behind the warm-up, by the line.
        last: The newest point.
        faults: What grows, a clause each.
    """

    part: str
    work: str
    slope: float
    error: float
    grown: float
    last: Point
    faults: tuple[str, ...]


def measured(pid: int, done: int, directory: Path) -> Point:
    """Return what a process uses now."""
    process = Path("/proc") / str(pid)
    pages = int((process / "statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    files = [path.lstat().st_size for path in directory.rglob("*") if path.is_file()]
    return Point(
        done, memory, len(list((process / "fd").iterdir())), len(list((process / "task").iterdir())), sum(files)
    )


def slope(points: list[Point]) -> tuple[float, float]:
    """Return the slope of the memory over the work, in bytes a unit, and half of its 95 % interval."""
    blocks = np.array_split(np.array([[p.done, p.memory] for p in points], float), BLOCKS)
    x, y = np.array([block.mean(axis=0) for block in blocks]).T
    x = x - x.mean()
    found = float((x * y).sum() / (x * x).sum())
    rest = y - y.mean() - found * x
    return found, T_95 * float(np.sqrt((rest * rest).sum() / (BLOCKS - 2) / (x * x).sum()))


def judged(part: str, work: str, points: list[Point], tolerance: float, most_bytes: int) -> Result:
    """Judge the points of one part.

    Args:
        part: Its name.
        work: What was done.
        points: All of them, in order.
        tolerance: Bytes by which the memory may seem to grow behind the warm-up.
        most_bytes: Bound of the directory.
    """
    counted = points[-COUNTED:]
    found, error = slope(counted)
    grown = found * (counted[-1].done - counted[0].done)
    faults = []
    if found - error > 0 and grown > tolerance:
        faults.append(f"memory grew by {grown / 1e6:.1f} MB")
    half = len(counted) // 2
    for name in ("descriptors", "threads"):
        before, after = (max(getattr(p, name) for p in part) for part in (counted[:half], counted[half:]))
        if after > before + 1:  # one may be open at the moment of the look
            faults.append(f"{name} grew from {before} to {after}")
    if (largest := max(p.directory for p in points)) > most_bytes:
        faults.append(f"its directory had {largest / 1e6:.1f} MB, {most_bytes / 1e6:.1f} is the bound")
    return Result(part, work, found, error, grown, points[-1], tuple(faults))


def lines_read(daemon: DaemonProcess) -> float:
    """Return how many lines a daemon has read; 0 where it does not answer in time, and is asked again."""
    try:
        return daemon.value("lrwatch_ingest_lines_total", run="a") or 0.0
    except OSError:
        return 0.0


def has_read(daemon: DaemonProcess, lines: int) -> bool:
    """Return whether a daemon has read so many lines."""
    return lines_read(daemon) >= lines


def followed(home: Path, lines: int) -> Iterator[Point]:
    """Yield what a daemon uses that follows a log which grows by `lines` lines, and is rotated."""
    run = home / "runs" / "a"
    run.mkdir(parents=True)
    log = run / "train.jsonl"
    losses = 2.0 + 0.1 * np.random.default_rng(5).standard_normal(10_000)
    log.touch()
    daemon = DaemonProcess(home / "daemon", home / "runs")
    try:
        eventually(lambda: "\n" in daemon.stderr, timeout=300, what="a daemon that listens")
        done, since = 0, 0
        for point in range(1, POINTS + 1):
            with log.open("a") as file:
                while done < lines * point // POINTS and since < ROTATED_LINES * point:
                    done += 1
                    since += 1
                    file.write(f'{{"step": {done}, "loss": {losses[done % 10_000]:.4f}, "lr": 0.0003}}\n')
            eventually(partial(has_read, daemon, done), timeout=3600, what=f"{done} lines are read")
            yield measured(daemon.process.pid, done, daemon.state)
            log.replace(run / "train.jsonl.1")
            log.touch()
    finally:
        if daemon.end() != 0:
            raise RuntimeError(f"the daemon ended badly: {daemon.stderr}")


def stepped(home: Path, steps: int) -> Iterator[Point]:
    """Yield what a training uses that takes `steps` steps."""
    control = home / "control"
    command = [sys.executable, "-c", CLIENT, str(control), str(METRICS_BYTES)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdin is not None
        assert training.stdout is not None
        for point in range(1, POINTS + 1):
            print(steps // POINTS, file=training.stdin, flush=True)
            training.stdout.readline()
            yield measured(training.pid, steps * point // POINTS, control)
        training.stdin.close()
        if (said := training.stdout.readline().strip()) != "0 {}":
            raise RuntimeError(f"the client lost metrics or had errors: {said}")


def fill(directory: Path) -> None:
    """Append as many entries as each line of standard input says, a hundred in a transaction, and check the chain at the end.

    Raises:
        RuntimeError: The chain is broken.
    """
    store = Store(directory, exclusive=True)
    options = JournalOptions(in_store=IN_STORE, files=FILES)
    for line in sys.stdin:
        for _ in range(int(line) // 100):
            with store.transaction():
                for i in range(100):
                    event = {
                        "event": "finding",
                        "kind": "plateau",
                        "step": i,
                        "evidence": {"slope": i / 7},
                        "message": "as long as most are" * 10,
                    }
                    store.append(f"run{i % 7}", event, 1e9 + i)
                store.answer(store.request("run0", "anna", "hold", "", 1e9), {"done": True, "text": "yes"})
            store.rotate_journal(options)
        print(flush=True)
    if (fault := store.journal_fault()) is not None:
        raise RuntimeError(f"the chain is broken: {fault}")
    store.close()


def journalled(home: Path, entries: int) -> Iterator[Point]:
    """Yield what a store uses that takes `entries` entries."""
    state = home / "state"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", JOURNAL, str(state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        for point in range(1, POINTS + 1):
            print(entries // POINTS, file=writer.stdin, flush=True)
            writer.stdout.readline()
            yield measured(writer.pid, entries * point // POINTS, state)
        writer.stdin.close()
        writer.wait()
    if writer.returncode != 0:
        raise RuntimeError(f"the writer of the journal ended with {writer.returncode}")


def main() -> int:
    """Run the three parts, print one table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="10^8 lines, 10^7 steps, 10^6 entries: hours")
    for name in ("lines", "steps", "entries"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--tolerance-mb", type=float, default=2.0, help="by which memory may seem to grow")
    given = parser.parse_args()
    default = LONG if given.long else NORMAL
    lines, steps, entries = (
        one or other for one, other in zip((given.lines, given.steps, given.entries), default, strict=True)
    )
    parts: list[tuple[str, str, Callable[[Path], Iterator[Point]], int]] = [
        ("daemon", f"{lines} lines", lambda home: followed(home, lines), 8 << 20),
        ("client", f"{steps} steps", lambda home: stepped(home, steps), METRICS_BYTES + 65_536),
        ("journal", f"{entries} entries", lambda home: journalled(home, entries), 16 << 20),
    ]
    failed = False
    print(
        f"{'part':8} {'work':17} {'memory':>9} {'slope, B a unit':>24} {'grown':>9} {'fds':>4} {'threads':>7} {'directory':>10}"
    )
    for part, work, points, most_bytes in parts:
        with tempfile.TemporaryDirectory() as home:
            result = judged(part, work, list(points(Path(home))), given.tolerance_mb * 1e6, most_bytes)
        last = result.last
        print(
            f"{part:8} {work:17} {last.memory / 1e6:6.1f} MB {result.slope:12.4f} ± {result.error:9.4f} {result.grown / 1e6:6.2f} MB"
            f" {last.descriptors:4} {last.threads:7} {last.directory / 1e6:7.2f} MB  {'; '.join(result.faults) or 'bounded'}",
            flush=True,
        )
        failed |= bool(result.faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
