"""The whole matrix of faults, or a sample of it: `python -m faults [--sample N] [--workers N]`, as `make test-faults` runs it.

What is done is kept in build/faults by the content of the code, so that a run that was broken off goes on. Exit code 1 where a point ends
otherwise than without its fault.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

from faults import client_course, daemon_course
from faults.points import Point, sample
from faults.processes import import_what_a_life_imports
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).parents[2]

# A busy machine may have a life save once more than another; then the number of a call is that of another one, and the point is tried again.
TRIES = 5

COURSES = {daemon_course.NAME: daemon_course.DaemonCourse, client_course.NAME: client_course.ClientCourse}

_courses: dict[str, Any] = {}
_homes: list[Path] = []  # the directory of all courses; the worker processes are forked behind it


def _course(name: str) -> Any:
    """Return the course of this worker process."""
    if name not in _courses:
        _courses[name] = COURSES[name](_homes[0] / f"{os.getpid()}" / name)
    return _courses[name]


def _try(point: Point) -> tuple[Point, list[str]]:
    """Try one point in a worker process."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(LookupError):
            return point, _disturbed(point)
    try:
        return point, _disturbed(point)
    except LookupError as error:
        return point, [f"not reached: {error}"]


def _disturbed(point: Point) -> list[str]:
    """Return what is wrong behind a fault, where that cannot even be compared too."""
    try:
        found: list[str] = _course(point.course).disturb(point)
    except (AssertionError, TimeoutError, OSError) as error:
        return [f"{type(error).__name__}: {error}"[:800]]
    return found


@contextlib.contextmanager
def _workers(home: Path, count: int) -> Iterator[Pool]:
    _homes.append(home)
    with multiprocessing.get_context("fork").Pool(count) as pool:
        yield pool


def _list(name: str) -> list[Point]:
    return list(_course(name).points())


def _digest() -> str:
    """Return a name for the code that is tested and that tests."""
    found = hashlib.sha256()
    for folder in (ROOT / "lrwatch", Path(__file__).parent):
        for path in sorted(folder.rglob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def _known(kept: Path) -> dict[str, list[str]]:
    lines = kept.read_text().splitlines() if kept.exists() else []
    return {one["key"]: one["found"] for one in map(json.loads, lines)}


def _run(points: Sequence[Point], pool: Pool, kept: Path) -> Iterator[tuple[Point, list[str]]]:
    known = _known(kept)
    for point in points:
        if point.key in known:
            yield point, known[point.key]
    left = [point for point in points if point.key not in known]
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("a") as file:
        for point, found in pool.imap_unordered(_try, left):
            file.write(json.dumps({"key": point.key, "found": found, **asdict(point)}) + "\n")
            file.flush()
            yield point, found


def main() -> int:
    """Run the points that are asked for, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument(
        "--sample", type=int, metavar="N", help="that many points, the same ones each time; all without it"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="points at a time")
    parser.add_argument("--course", choices=COURSES, action="append", help="only the points of one")
    parser.add_argument(
        "--kept", type=Path, default=ROOT / "build" / "faults", metavar="DIR", help="where results are kept"
    )
    options = parser.parse_args()
    if shutil.which("strace") is None:
        print("needs strace (Debian: strace)", file=sys.stderr)
        return 2
    began = time.monotonic()
    for module in (daemon_course, client_course):
        import_what_a_life_imports(module.whole_life)
    gc.freeze()  # a forked process need not copy what the collector would touch
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    memory = Path("/dev/shm")  # a kill loses nothing that a system call has written, so no disk is needed
    with (
        tempfile.TemporaryDirectory(
            prefix="lrwatch-faults-", dir=memory if os.access(memory, os.W_OK) else None
        ) as home,
        _workers(Path(home), options.workers) as pool,
    ):
        every = [point for points in pool.imap(_list, options.course or COURSES) for point in points]
        chosen = sample(every, len(every) if options.sample is None else options.sample)  # each kind early
        console, bad = Console(stderr=True), 0
        with Progress(console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("faults", total=len(chosen))
            for point, found in _run(chosen, pool, options.kept / f"{_digest()}.jsonl"):
                progress.advance(task)
                if found:
                    bad += 1
                    print(f"{point.key}:", *found, sep="\n    ", flush=True)
    print(f"{len(chosen)} of {len(every)} points in {time.monotonic() - began:.0f} s, {bad} differ")
    counts, totals = (
        Counter((point.course, point.life, point.fault) for point in points) for points in (chosen, every)
    )
    for (course, life, fault), count in sorted(totals.items()):
        print(f"{course:8}{life:8}{fault:14}{counts[course, life, fault]:6} of {count}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
