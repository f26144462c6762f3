"""Throughput of the format `text` in lines a second, beside mtail (Debian package `mtail`), which extracts two values.

Run with ``python bench/text_and_mtail.py``. mtail's time is that of a whole run in one-shot mode, less that of a run on
an empty file. lrwatch's is that of reading the file in pieces as the daemon does, with all values of each line, not
only the two. One core each; the best of several runs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lrwatch.formats import by_name

LINES = 1_000_000
RUNS = 3
CHUNK_BYTES = 2 << 20

LOGS: dict[str, tuple[str, Callable[[int], str]]] = {
    "nanoGPT": (
        r"/^iter (?P<step>\d+): loss (?P<loss>[\d.]+),/",
        lambda i: f"iter {i}: loss {2 + i % 9973 / 9973:.4f}, time {35 + i % 89 / 89:.2f}ms, mfu 10.41%\n",
    ),
    "llm.c": (
        r"/^s:(?P<step>\d+) trl:(?P<loss>[\d.]+) /",
        lambda i: f"s:{i} trl:{2 + i % 9973 / 9973:.4f} lr:0.000600 norm:{i % 97 / 97:.2f}\n",
    ),
    "Megatron-LM": (
        r"/iteration +(?P<step>\d+)\/ .* lm loss: (?P<loss>[\d.E+-]+) /",
        lambda i: (
            f" iteration {i:8d}/ 2000000 | consumed samples: {i * 256:12d} | elapsed time per iteration (ms): 1001.5 | "
            f"learning rate: 9.339E-08 | global batch size:   256 | lm loss: {2 + i % 9973 / 9973:.6E} | loss scale: 2048.0 | "
            "number of skipped iterations:   0 | number of nan iterations:   0 |\n"
        ),
    ),
}
PROGRAM = "gauge step\ngauge loss\n{pattern} {{\n  step = int($step)\n  loss = float($loss)\n}}\n"


def _mtail(program: Path, log: Path) -> float:
    """Return the seconds of one run."""
    start = time.perf_counter()
    subprocess.run(
        ["mtail", "--one_shot", "--progs", str(program), "--logs", str(log), "--logtostderr"],
        check=True,
        capture_output=True,
        env={"GOMAXPROCS": "1", "PATH": "/usr/bin:/bin:/usr/local/bin"},
    )
    return time.perf_counter() - start


def _lrwatch(log: Path) -> float:
    reader = by_name("text")
    start = time.perf_counter()
    samples = 0
    with log.open("rb") as file:
        rest = b""
        while data := file.read(CHUNK_BYTES):
            batch, used = reader.feed(rest + data)
            rest = (rest + data)[used:]
            samples += len(batch)
    assert samples >= 2 * LINES
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    if shutil.which("mtail") is None:
        sys.exit("the peer is missing: apt-get install mtail")
    print(f"{'log':<14}{'lrwatch lines/s':>18}{'mtail lines/s':>16}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as directory:
        empty = Path(directory) / "empty.log"
        empty.touch()
        for name, (pattern, line) in LOGS.items():
            log, program = Path(directory) / "train.log", Path(directory) / "train.mtail"
            log.write_text("".join(map(line, range(LINES))))
            program.write_text(PROGRAM.format(pattern=pattern))
            ours = LINES / min(_lrwatch(log) for _ in range(RUNS))
            theirs = LINES / (min(_mtail(program, log) for _ in range(RUNS)) - _mtail(program, empty))
            print(f"{name:<14}{ours:>18,.0f}{theirs:>16,.0f}{ours / theirs:>8.1f}")


if __name__ == "__main__":
    main()
