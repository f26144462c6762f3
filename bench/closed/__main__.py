"""Comparison in closed loop on real trainings: schedules, torch's rule, GreedyLR and lrwatch.

Run with ``python bench/closed`` (three seeds, some fifty minutes on two cores) or ``--short`` (one seed of half the length, a
smaller grid, some five minutes); both say how long they took.
Measurements are cached in the directory of the output: an interrupted run continues, and after a change of lrwatch's core
only lrwatch's runs are repeated. Cells that nothing was tuned on stand apart. Needs torch and scikit-learn, and
transformers for GreedyLR; competitors that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # replaces this directory, where `bench.closed` would have a second name
# The matrices are too small to share, and a result must not depend on the number of cores.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

from bench.closed import controllers, picture, run, tables  # noqa: E402
from bench.closed.cells import cells  # noqa: E402


def main() -> None:
    """Print the tables; write the figures and the picture."""
    parser = argparse.ArgumentParser(prog="bench/closed", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="one seed, half the steps, three rates in a sweep, a grid of four"
    )
    parser.add_argument(
        "--only", nargs="+", default=(), choices=run.GROUPS, metavar="GROUP",
        help=f"measure these groups again ({', '.join(run.GROUPS)}); the others come from the cache where it has them",
    )  # fmt: skip
    parser.add_argument(
        "--without", nargs="+", default=(), choices=run.GROUPS[1:], metavar="GROUP", help="leave these groups out"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="cells measured at once")
    parser.add_argument(
        "--seeds", nargs="+", type=int, metavar="N", help="these seeds of the real trainings and problems"
    )
    parser.add_argument("--cells", nargs="+", default=(), metavar="PART", help="cells whose name has this in it")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "bench-closed", help="directory of the output and the cache"
    )
    given = parser.parse_args()
    size = run.SHORT if given.short else run.Size()
    size = replace(size, seeds=tuple(given.seeds)) if given.seeds else size
    there, missing, problems = cells(given.cells)
    for cell in missing:
        print(f"left out, a library of it is not installed: {cell.name}", file=sys.stderr)
    if not controllers.greedy_is_there():
        print("left out, transformers is not installed or has none: GreedyLR", file=sys.stderr)
    if not there and not problems:
        parser.error(f"no cell has {' or '.join(given.cells)} in its name")
    cache = run.Cache(given.out / ("short" if given.short else "full"), given.only)
    began = time.monotonic()
    found = run.measure(size, cache, given.cells, workers=given.workers, without=given.without)
    took = (time.monotonic() - began) / 60
    text = "\n".join((tables.summary(found), tables.answers(found)))
    (given.out / "closed.md").write_text(text + tables.details(found))
    (given.out / "closed.svg").write_text(picture.draw(found))
    print(text)
    print(f"written: {given.out}/closed.md, closed.svg; measured in {took:.1f} minutes with {given.workers} processes")


if __name__ == "__main__":
    main()
