"""Fuzz test of the tools of `lrwatch mcp` with a hundred thousand hostile calls, `python bench/fuzz/agent.py [COUNT]`.

The calls come from tests/support/hostile_agent.py.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from support.hostile_agent import assault, hostile_world


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    began = time.perf_counter()
    outcomes: Counter[str] = Counter()
    for share, allowed in ((0.75, ("hold",)), (0.25, ("set", "undo", "resume"))):
        with tempfile.TemporaryDirectory() as home, hostile_world(Path(home), allowed) as world:
            outcomes += assault(int(share * count), count, world)
    seconds = time.perf_counter() - began
    print(f"{count} calls in {seconds:.0f} s: no exception, no file changed, no scale out of bounds, no secret told")
    for outcome, number in outcomes.most_common():
        print(f"{outcome:24}{number:>10}")


if __name__ == "__main__":
    main()
