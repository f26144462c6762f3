"""Cost of following many growing files: a real `lrwatch run` on a directory of runs that grow at the same time.

Every file is a separate run and grows by ten lines a second, one line a write. The benchmark prints the daemon's share
of one core (user and system time of the process, from /proc), its memory, and the delay of reading: some files log a
NaN from time to time, and the delay is the time from that write to the finding on the daemon's standard output. It
includes detection and the journal. /metrics is scraped as often as Prometheus would.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# Limits: percent of one core, MB, and seconds within which 99 % of the lines are read.
CORE_PERCENT, MEMORY_MB, READ_SECONDS = 15.0, 300.0, 1.5

LINES_A_SECOND = 10
# Lines in each file before the daemon starts.
FIRST_LINES = 300
# Number of files that log a NaN, and the lines between two: a NaN is a finding after a hundred finite values.
PROBES, NAN_EVERY = 100, 120
SCRAPE_SECONDS = 15.0
# The start ends when lines are read in time, at the latest after this many seconds.
WARM_UP_SECONDS = 120.0


def line(step: int, loss: float) -> bytes:
    """Return one record of a training."""
    return f'{{"step": {step}, "loss": {loss:.4f}, "lr": 0.0003}}\n'.encode()


def losses(seed: int) -> Iterator[float]:
    """Yield an endless falling, noisy loss."""
    rng = random.Random(seed)
    step = 0
    while True:
        step += 1
        yield 2 + 8 / (1 + step / 1000) ** 0.5 + 0.1 * rng.gauss(0, 1)


def grow(folder: Path, count: int) -> None:
    """Append to the files until the process is killed; print each NaN with the time of its write."""
    files = [os.open(path, os.O_WRONLY | os.O_APPEND) for path in paths(folder, count)]
    curves = [losses(seed) for seed in range(count)]
    step, began = FIRST_LINES, time.monotonic()
    while True:
        for i, file in enumerate(files):
            due = began + (step - FIRST_LINES + i / count) / LINES_A_SECOND
            if (wait := due - time.monotonic()) > 0.002:
                time.sleep(wait)
            # Each probe has its own line number, which spreads the NaNs over time.
            lost = i * PROBES % count < PROBES and (step + i * NAN_EVERY // count) % NAN_EVERY == 0
            os.write(file, line(step, float("nan") if lost else next(curves[i])).replace(b"nan", b"NaN"))
            if lost:
                print(json.dumps([f"run{i:05d}", step, time.time()]), flush=True)
        step += 1


def paths(folder: Path, count: int) -> list[Path]:
    """Return the path of the log of each run."""
    return [folder / f"run{i:05d}" / "train.jsonl" for i in range(count)]


Nan = tuple[str, int, float]


class Process:
    """The CPU time and the memory of a process, from /proc."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")

    @property
    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_mb(self) -> float:
        """Largest resident set so far."""
        found = re.search(r"VmHWM:\s+(\d+) kB", (self._proc / "status").read_text())
        assert found is not None
        return int(found[1]) * 1024 / 1e6


class Findings:
    """The findings on the standard output of the daemon, with the time of each."""

    def __init__(self, daemon: subprocess.Popen[str]) -> None:
        self.times: dict[tuple[str, int], float] = {}
        self._daemon = daemon
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._daemon.stdout is not None
        for text in self._daemon.stdout:
            event = json.loads(text)
            if event.get("kind") == "nonfinite":
                self.times[event["run"], event["step"]] = time.time()

    def all_of(self, written: list[Nan]) -> bool:
        """Return whether the newest of `written` were found, except those that may still be in transit."""
        newest = [nan[:2] for nan in written if nan[2] < time.time() - READ_SECONDS][-PROBES // 10 :]
        return bool(newest) and all(nan in self.times for nan in newest)


def nans_of(home: Path) -> list[Nan]:
    """Return run, step and time of each NaN written so far."""
    lines = (home / "nans").read_text().splitlines(keepends=True)
    return [tuple(json.loads(text)) for text in lines if text.endswith("\n")]


def main() -> None:
    """Run the benchmark and print the figures beside the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--grow", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    # One descriptor a file and a few others; the usual soft limit is 1,024.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if given.grow:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        grow(given.grow, given.files)
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), given.files, given.seconds)


def measure(home: Path, count: int, seconds: float) -> None:
    """Start both processes, and print the daemon's cost."""
    folder = home / "runs"
    for seed, path in enumerate(paths(folder, count)):
        path.parent.mkdir(parents=True)
        path.write_bytes(
            b"".join(line(step, loss) for step, loss in zip(range(FIRST_LINES), losses(seed), strict=False))
        )
    command = [sys.executable, "-m", "lrwatch", "run", str(folder), "--listen", "127.0.0.1:0", "--format", "json"]
    daemon = subprocess.Popen(
        [*command, "--state", str(home / "state")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert daemon.stderr is not None
    address = daemon.stderr.readline().split()[-1]
    findings = Findings(daemon)
    # Standard error holds no figure, and must not fill the pipe.
    errors: list[str] = []
    threading.Thread(target=lambda: errors.extend(daemon.stderr or ()), daemon=True).start()
    with (home / "nans").open("w") as nans:
        writer = subprocess.Popen([sys.executable, __file__, "--grow", str(folder), "--files", str(count)], stdout=nans)
    try:
        started = time.time()
        while not findings.all_of(nans_of(home)) and time.time() - started < WARM_UP_SECONDS:
            time.sleep(0.5)
        warm_up = time.time() - started
        process = Process(daemon.pid)
        began, spent, scrapes = time.time(), process.cpu_seconds, 0
        while (left := began + seconds - time.time()) > 0:
            time.sleep(min(left, SCRAPE_SECONDS))
            urllib.request.urlopen(f"{address}/metrics").read()
            scrapes += 1
        percent = 100 * (process.cpu_seconds - spent) / (time.time() - began)
        ended = time.time() - 2 * READ_SECONDS
        time.sleep(READ_SECONDS)
        peak = process.peak_mb
    finally:
        for child in (writer, daemon):
            child.send_signal(signal.SIGTERM)
            child.wait(30)
    due = [(run, step, at) for run, step, at in nans_of(home) if began <= at <= ended]
    late = np.array([findings.times.get((run, step), np.inf) - at for run, step, at in due])
    grown = sum(path.stat().st_size for path in paths(folder, count))
    print(
        f"{count:,} files, {LINES_A_SECOND} lines/s each, {seconds:g} s; {scrapes} scrapes; {grown / 1e6:.0f} MB of logs; start {warm_up:.0f} s"
    )
    print(f"{'':<34}{'measured':>10}{'bar':>10}")
    print(f"{'share of one core, %':<34}{percent:>10.1f}{CORE_PERCENT:>10.0f}")
    print(f"{'memory, MB':<34}{peak:>10.0f}{MEMORY_MB:>10.0f}")
    if not len(late):
        print("too short to tell how late lines are read")
        return
    print(
        f"{f'read within {READ_SECONDS} s, % of {len(late)} lines':<34}{100 * (late <= READ_SECONDS).mean():>10.1f}{99:>10}"
    )
    print(
        f"{'read after, median and 99 %, s':<34}{np.median(late):>10.2f}{np.quantile(late, 0.99, method='higher'):>10.2f}"
    )
    for text in errors[:3]:
        print(f"standard error of the daemon: {text}", end="")


if __name__ == "__main__":
    main()
