"""Mutation tests: does a test fail when a line is wrong?

mutmut changes one operator, number, name or argument at a time and runs the tests that reach the function. A mutant that
no test notices has *survived*: either it means the same, or a test is missing. docs/mutation.md judges them.

Each room has a working directory of its own in build/mutation, with a copy of the sources and a configuration, because
mutmut takes one list of tests for all that it mutates. Only tests within one process count: a child process sees no
mutant of its parent, and what waits for a thread on a busy machine fails without one.

    python bench/mutate.py command             # go on with a room, or begin it; prints the scores at the end
    python bench/mutate.py --report            # the scores of what was done so far
    python bench/mutate.py --survivors client  # the changes that no test noticed, as diffs
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build/mutation"
CLIENT_TESTS = (
    "interlock", "judge", "ramp", "warm_start", "message", "override", "saved", "reading", "metrics", "rotation", "worker", "client",
)  # fmt: skip
# What is mutated, and the tests of it that are fast, pure and true on a busy machine.
ROOMS: dict[str, tuple[list[str], list[str]]] = {
    "command": (["lrwatch/core/command.py"], ["tests/core/test_command.py"]),
    "strategies": (
        [f"lrwatch/core/strategies/{path.name}" for path in sorted((ROOT / "lrwatch/core/strategies").glob("*.py"))],
        [
            "tests/core/strategies",
            *(f"tests/core/test_{name}.py" for name in ("policy", "averaged_loss", "epoch_length")),
        ],
    ),
    "client": (
        [
            f"lrwatch/client/{name}.py"
            for name in ("interlock", "judge", "ramp", "message", "override", "saved", "files", "reading", "metrics")
        ],
        [f"tests/client/test_{name}.py" for name in CLIENT_TESTS],
    ),
}
# Tests that take seconds each; they would be run for nearly every mutant.
TOO_LONG = (
    "healthy_curve_keeps_its_rate", "groups_of_one_optimizer", "seven_hundred_optimizers", "attached_client_keeps_the_bound",
)  # fmt: skip
SETTINGS = """
[tool.mutmut]
source_paths = {files}
also_copy = ["lrwatch", "docs"]
pytest_add_cli_args = ["-p", "no:cacheprovider", "-m", "not slow and not frameworks", "-k", "{tests}"]
pytest_add_cli_args_test_selection = {selection}
timeout_multiplier = 60.0
timeout_constant = 20.0
use_git_change_detection = false
"""
KILLED, SURVIVED, NO_TEST = "killed", "survived", "no test"


def verdict(code: int) -> str:
    """Return what an exit status of mutmut's worker means; one that ran past its time was noticed."""
    return {0: SURVIVED, 5: NO_TEST, 33: NO_TEST}.get(code, KILLED)


def prepare(room: str) -> Path:
    """Make the working directory of a room, or bring it up to date."""
    folder = WORK / room
    files, tests = ROOMS[room]
    for name in ("lrwatch", "tests", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "data", "node_modules")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored, dirs_exist_ok=True)
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    settings = SETTINGS.format(
        files=json.dumps(files), selection=json.dumps(tests), tests=" and ".join(f"not {name}" for name in TOO_LONG)
    )
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(project + settings, encoding="utf-8")
    return folder


def mutate(room: str) -> int:
    """Run the mutants of a room that have no verdict yet; return mutmut's exit status."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(WORK / "pycache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # without a cache each mutant would compile the tests anew
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(max(1, (os.cpu_count() or 2) // 2))]
    return subprocess.run(command, cwd=prepare(room), env=environment, check=False).returncode


def results(room: str) -> dict[str, dict[str, str]]:
    """Return the verdicts so far by file and mutant; a mutant without one is missing."""
    found = {}
    for path in sorted((WORK / room / "mutants/lrwatch").rglob("*.meta")):
        text = path.read_text(encoding="utf-8")
        codes = json.loads(text)["exit_code_by_key"] if text else {}  # mutmut may be writing it at this moment
        if codes:
            name = str(path.relative_to(WORK / room / "mutants")).removesuffix(".meta")
            found[name] = {mutant: "" if code is None else verdict(code) for mutant, code in codes.items()}
    return found


def report(rooms: list[str]) -> None:
    """Print one row for each file: mutants, verdicts and the score of those that have one."""
    print("| file | mutants | run | killed | survived | no test | score |")
    print("|---|---|---|---|---|---|---|")
    for room in rooms:
        for name, mutants in results(room).items():
            verdicts = [one for one in mutants.values() if one]
            killed, survived, untested = (verdicts.count(one) for one in (KILLED, SURVIVED, NO_TEST))
            score = f"{100 * killed / len(verdicts):.0f} %" if verdicts else ""
            print(f"| `{name}` | {len(mutants)} | {len(verdicts)} | {killed} | {survived} | {untested} | {score} |")


def survivors(room: str) -> None:
    """Print the changes that no test noticed."""
    for mutants in results(room).values():
        for mutant, what in mutants.items():
            if what in (SURVIVED, NO_TEST):
                print(f"# {what}", flush=True)
                subprocess.run([sys.executable, "-m", "mutmut", "show", mutant], cwd=WORK / room, check=False)


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(description="Mutation tests of the rooms whose faults cost a training.")
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"{', '.join(ROOMS)}; all of them by default")
    parser.add_argument("--report", action="store_true", help="print the scores of what was done so far")
    parser.add_argument("--survivors", action="store_true", help="print the changes that no test noticed")
    options = parser.parse_args()
    rooms = options.rooms or list(ROOMS)
    if unknown := sorted(set(rooms) - set(ROOMS)):
        parser.error(f"no room is called {', '.join(unknown)}; there are {', '.join(ROOMS)}")
    if options.survivors:
        for room in rooms:
            survivors(room)
        return 0
    status = 0 if options.report else max([mutate(room) for room in rooms])
    report(rooms)
    return status


if __name__ == "__main__":
    sys.exit(main())
