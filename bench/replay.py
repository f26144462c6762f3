"""Throughput of `lrwatch replay` in lines a second of the whole command, and its peak memory by length of the log.

The peer in the same run is a loop of `json.loads` over the same file, without any detection.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PEER = "import json, sys\nfor line in open(sys.argv[1], 'rb'):\n    json.loads(line)\n"


def write(path: Path, lines: int) -> None:
    """Write a log as a trainer does: a falling, noisy loss and its learning rate."""
    rng = np.random.default_rng(0)
    with path.open("w") as log:
        for start in range(0, lines, 100_000):
            steps = np.arange(start, min(start + 100_000, lines))
            losses = 2 + 8 / (1 + steps / 1000) ** 0.5 + 0.1 * rng.standard_normal(len(steps))
            log.writelines(
                f'{{"step": {s}, "loss": {v:.4f}, "lr": 0.0003}}\n'
                for s, v in zip(steps.tolist(), losses.tolist(), strict=True)
            )


def measure(command: list[str]) -> tuple[float, float]:
    """Run a command, and return its seconds and its largest resident set in MiB."""
    began = time.perf_counter()
    child = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    out = subprocess.run([sys.executable, "-c", child, *command], check=True, capture_output=True, text=True).stdout
    return time.perf_counter() - began, int(out) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, nargs="+", default=[100_000, 1_000_000])
    given = parser.parse_args()
    print(f"{'replay of JSONL':>18}{'seconds':>9}{'lines/s':>11}{'peak MiB':>10}{'json.loads lines/s':>20}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for lines in given.lines:
            log = Path(folder) / "log.jsonl"
            write(log, lines)
            seconds, peak = measure([sys.executable, "-m", "lrwatch", "replay", str(log), "--format", "json"])
            peer, _ = measure([sys.executable, "-c", PEER, str(log)])
            print(
                f"{lines:>18,}{seconds:>9.2f}{lines / seconds:>11,.0f}{peak:>10.0f}{lines / peer:>20,.0f}{peer / seconds:>7.2f}"
            )


if __name__ == "__main__":
    main()
