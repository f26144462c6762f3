"""Does lrwatch harm a training that does well as it is? Final losses with it over those with the constant rate.

Run with ``python bench/harm`` (sixteen trainings, three seeds, some fifteen minutes on two cores), ``--unseen`` (as long; the
seeds that nothing was tuned on) or ``--short`` (one seed of four trainings, under a minute). Runs are cached in the
directory of the output: an interrupted measurement continues, and after a change of lrwatch's core only lrwatch's runs
are repeated. Needs torch, and scikit-learn for one training, which is left out and named without it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # replaces this directory, where `bench.harm` would have a second name
# The matrices are too small to share, and a result must not depend on the number of cores.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

from bench.closed.run import Cache  # noqa: E402
from bench.harm import run, tables  # noqa: E402


def main() -> None:
    """Print the tables and write them."""
    parser = argparse.ArgumentParser(prog="bench/harm", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"the first seed of {', '.join(run.QUICK)}")
    parser.add_argument(
        "--unseen",
        action="store_true",
        help=f"the seeds {', '.join(map(str, run.UNSEEN_SEEDS))}, which nothing was tuned on",
    )
    parser.add_argument("--only", nargs="+", choices=run.TRAININGS, metavar="NAME", help="these trainings")
    parser.add_argument(
        "--who", nargs="+", choices=run.WATCHED, default=list(run.WATCHED), metavar="WHO",
        help=f"these controllers; all of them are: {'; '.join(run.WATCHED)}",
    )  # fmt: skip
    parser.add_argument("--share", type=float, default=1.0, help="share of each training's steps; for a try")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "bench-harm", help="directory of the output and the cache"
    )
    given = parser.parse_args()
    names = given.only or (run.QUICK if given.short else list(run.TRAININGS))
    for name in set(names) - set(run.there(names)):
        print(f"left out, scikit-learn is not installed: {name}", file=sys.stderr)
    seeds = run.UNSEEN_SEEDS if given.unseen else run.SEEN_SEEDS
    began = time.monotonic()
    harms = run.measure(
        run.there(names),
        seeds[:1] if given.short else seeds,
        given.who,
        Cache(given.out / "cache"),
        given.share,
        given.workers,
    )
    text = tables.report(harms)
    target = given.out / f"harm{'-unseen' * given.unseen}{'-short' * given.short}.md"
    target.write_text(text + "\n" + tables.changes(harms))
    print(text)
    print(f"written, with every change: {target}; {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
