"""Fuzz everything that takes bytes of anybody, `python bench/fuzz [TARGET...]`: each target for FUZZ_SECONDS.

With atheris (the extra `fuzz`), which looks for bytes that reach new code; without it with damaged seeds, and says so. What is
worth keeping is kept in build/fuzz/TARGET, so that the next time begins there. A find is written to build/fuzz/TARGET.crash,
and the exit code is 1: mend it, and put the bytes into tests/fuzz/test_finds.py. `client` and `mcp` are two more targets, whose
inputs are made by tests/support/hostile_commands.py and hostile_agent.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # replaces this directory, where `bench.fuzz` would have a second name
sys.path.insert(1, str(ROOT / "tests"))

from bench.fuzz.mutations import damaged  # noqa: E402

KEPT = ROOT / "build" / "fuzz"
SECONDS = 60.0
MEGABYTES = 1024
# What is instrumented for a target: all of lrwatch takes minutes.
_ROOMS = {
    "format": ("formats", "core.names"), "log": ("formats", "sources"), "protocol": ("protocol",), "judge": ("protocol", "client"),
    "toml": ("toml", "config"), "pattern": ("formats.pattern",), "teach": ("explain",), "http": ("export.http",),
    "pages": ("report", "export.pages", "export.labels"),
}  # fmt: skip
_EXECUTED = re.compile(rb"number_of_executed_units: (\d+)")


def main() -> int:
    """Fuzz the targets one after another, print a line for each, and return the exit code."""
    parser = argparse.ArgumentParser(prog="bench/fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="some of them; all by default")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS") or SECONDS))
    parser.add_argument("--list", action="store_true", help="print their names")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    guided = importlib.util.find_spec("atheris") is not None
    if asked.one:  # before any part of lrwatch is imported: it is instrumented as it is
        _run(asked.targets[0], asked.seconds, guided=guided)
        return 0
    from bench.fuzz.targets import TARGETS

    if asked.list:
        print("\n".join(TARGETS))
        return 0
    unknown = sorted(set(asked.targets) - set(TARGETS))
    if unknown:
        parser.error(f"expected some of {', '.join(TARGETS)}, found {', '.join(unknown)}")
    if not guided:
        print("atheris is not installed: seeds are damaged at random (pip install 'lrwatch[fuzz]')")
    names = asked.targets or list(TARGETS)
    failed = [name for name in names if not _fuzz(name, asked.seconds)]
    print(f"{len(names)} targets, {len(failed)} with a find{': ' if failed else ''}{', '.join(failed)}")
    return 1 if failed else 0


def _fuzz(name: str, seconds: float) -> bool:
    """Fuzz one target in a process of its own, and print what became of it. Return whether nothing was found."""
    KEPT.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    print(f"{name:18}", end="", flush=True)
    child = subprocess.run(
        [sys.executable, __file__, "--one", "--seconds", str(seconds), name],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, cwd=KEPT,
    )  # fmt: skip
    executed = _EXECUTED.findall(child.stdout)
    count = int(executed[-1]) if executed else 0
    kept = len(list((KEPT / name).glob("*"))) if (KEPT / name).is_dir() else 0
    took = time.perf_counter() - began
    print(f"{count:>10,} executions  {took:5.0f} s  {kept:>5} kept  {'ok' if not child.returncode else 'FOUND'}")
    if child.returncode:
        print(child.stdout.decode("utf-8", "replace")[-4000:])
    return child.returncode == 0


def _run(name: str, seconds: float, *, guided: bool) -> None:
    """Fuzz one target in this process."""
    if guided:
        _run_guided(name, seconds)
        return
    from bench.fuzz.targets import TARGETS

    target = TARGETS[name]
    count, ends = 0, time.perf_counter() + seconds
    inputs = damaged(target.seeds, int(time.time()), target.most)
    while time.perf_counter() < ends:
        data = next(inputs)
        try:
            target.one(data)
        except BaseException:
            (KEPT / f"{name}.crash").write_bytes(data)
            raise
        count += 1
    print(f"number_of_executed_units: {count}")


def _run_guided(name: str, seconds: float) -> None:
    import atheris

    with atheris.instrument_imports(include=[f"lrwatch.{room}" for room in _ROOMS[name.partition("-")[0]]]):
        from bench.fuzz.targets import TARGETS

    target = TARGETS[name]
    corpus = KEPT / name
    corpus.mkdir(exist_ok=True)
    for at, seed in enumerate(target.seeds):
        (corpus / f"seed{at}").write_bytes(seed)
    arguments = [
        f"-max_total_time={int(seconds)}", f"-max_len={target.most}", f"-rss_limit_mb={MEGABYTES}", "-timeout=20",
        "-print_final_stats=1", f"-exact_artifact_path={KEPT / name}.crash", str(corpus),
    ]  # fmt: skip
    atheris.Setup([name, *arguments], target.one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
