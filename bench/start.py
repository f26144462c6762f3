"""Start time of the commands and of the client's import, beside an interpreter that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

# Enough for a median on a noisy machine; the commands take turns, and a slow moment affects all of them.
TURNS = 15

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import lrwatch": ["-c", "import lrwatch"],
    "import lrwatch.client": ["-c", "import lrwatch.client"],
    "lrwatch --help": ["-m", "lrwatch", "--help"],
    "lrwatch replay --help": ["-m", "lrwatch", "replay", "--help"],
}


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(TURNS):
        for name, arguments in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - began)
    bare = statistics.median(times["python -c pass"])
    print(f"{'start':24}{'median ms':>10}{'over bare ms':>14}{'ratio':>8}")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{name:24}{1e3 * median:>10.1f}{1e3 * (median - bare):>14.1f}{median / bare:>8.2f}")


if __name__ == "__main__":
    main()
