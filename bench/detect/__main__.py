"""Comparison of plateau rules on the same curves of known truth: rates of early reports, and delays of the others.

Run with ``python bench/detect --short`` (a minute) or ``--long`` (300 runs of each noise: many minutes). With
``--real DIR`` the rules read the logs of real runs instead. Needs torch, optax, river, pymannkendall and scipy; a rule
whose library is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # replaces this directory, where `bench.detect` would have a second name

from bench.detect import picture, real, run  # noqa: E402
from bench.detect.curves import Size  # noqa: E402

# Runs of each shape in each noise: two are half a minute on two cores; sixty, of five shapes, are 300 of each noise.
SHORT, LONG = 2, 60


def main() -> None:
    """Print the tables; write the figures and the picture."""
    parser = argparse.ArgumentParser(prog="bench/detect", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--short", action="store_const", const=SHORT, dest="runs", help=f"{SHORT} runs a cell; the default"
    )
    what.add_argument("--long", action="store_const", const=LONG, dest="runs", help=f"{LONG} runs a cell")
    what.add_argument("--runs", type=int, help="runs of each shape in each noise")
    what.add_argument("--real", type=Path, nargs="+", metavar="DIR", help="logs of real runs instead of curves")
    parser.add_argument("--only", nargs="+", default=(), metavar="PART", help="the rules whose name has this in it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--values", type=int, default=Size().values, help="values of a run")
    parser.add_argument("--horizon", type=int, default=Size().horizon, help="values of a horizon")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "bench-detect", help="directory of what is written"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.real:
        text = real.compare(given.real, given.workers)
        (given.out / "real.md").write_text(text)
        print(text)
        return
    result = run.measure(
        given.runs or SHORT, given.seed, Size(given.values, given.horizon), given.workers, only=given.only
    )
    for name in result.missing:
        print(f"left out, its library is not installed: {name}", file=sys.stderr)
    text = run.tables(result)
    (given.out / "detect.json").write_text(json.dumps(result.plain(), indent=1) + "\n")
    (given.out / "detect.md").write_text(text)
    (given.out / "detect.svg").write_text(picture.draw(result))
    print(text)
    print(f"written: {given.out}/detect.json, detect.md, detect.svg")


if __name__ == "__main__":
    main()
