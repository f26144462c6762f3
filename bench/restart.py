"""Time from the start of a daemon until it watches, over a log of a million lines that an earlier one has read.

Two seconds are promised. Both the time and the seconds of CPU are printed, because the machine may be busy.
"""

from __future__ import annotations

import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

LINES = 1_000_000
TURNS = 3


def write_log(path: Path) -> None:
    """Write the log of a training that gets better slowly."""
    rng = np.random.default_rng(1)
    values = 2 + 5 / np.sqrt(1 + np.arange(LINES) / 1e5) + 0.05 * rng.standard_normal(LINES)
    path.parent.mkdir()
    path.write_text("".join(f'{{"step":{step},"loss":{value:.5f}}}\n' for step, value in enumerate(values)))


def restart(home: Path) -> tuple[float, float]:
    """Start a daemon, and return after how many seconds, and seconds of CPU, it serves the newest step."""
    command = [
        sys.executable,
        "-m",
        "lrwatch",
        "run",
        "--listen",
        "127.0.0.1:0",
        "--state",
        str(home / "state"),
        str(home / "run"),
    ]
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as daemon:
        assert daemon.stderr is not None
        found = re.search(r"http://\S+", daemon.stderr.readline())
        assert found is not None
        while (
            f'lrwatch_run_step{{run="run"}} {LINES - 1}.0'
            not in urllib.request.urlopen(f"{found[0]}/metrics").read().decode()
        ):
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        spent = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
        daemon.send_signal(signal.SIGTERM)
    return seconds, (int(spent[11]) + int(spent[12])) / 100


def main() -> None:
    """Print the medians."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        write_log(home / "run" / "train.jsonl")
        once = [sys.executable, "-m", "lrwatch", "run", "--once", "--state", str(home / "state"), str(home / "run")]
        subprocess.run(once, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds, cpu = (statistics.median(one) for one in zip(*(restart(home) for _ in range(TURNS)), strict=True))
        print(f"restart to watching, {LINES:,} lines: {seconds:.2f} s, {cpu:.2f} s of CPU")


if __name__ == "__main__":
    main()
