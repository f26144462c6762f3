"""Fuzz test of the client with a million hostile commands, `python bench/fuzz/client.py [COUNT]`.

The commands come from tests/support/hostile_commands.py.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from support.hostile_commands import assault


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    began = time.perf_counter()
    outcomes = assault(count, seed=count)
    seconds = time.perf_counter() - began
    totals: Counter[str] = Counter()
    for (kind, outcome), number in outcomes.items():
        if kind:
            totals[outcome] += number
    print(
        f"{count} contents in {seconds:.0f} s: each answered or counted, no exception, no learning rate out of bounds"
    )
    print(f"{outcomes['', 'changes of the scale']} changes of the scale")
    for outcome, number in totals.most_common():
        print(f"{outcome:24}{number:>10}")


if __name__ == "__main__":
    main()
