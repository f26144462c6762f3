"""Faults that are planted one at a time in a copy of the package, to see whether the games of test_stateful.py find them.

A machine that finds nothing may be blind. Each fault is a text of the code and what stands there instead; the copy lies in a
temporary directory, and a process of its own plays with it until an invariant breaks. So the repository is never changed.

    PYTHONPATH=tests python -m support.planted_faults            # all faults, as the table of docs/guarantees.md
    PYTHONPATH=tests python -m support.planted_faults NAME ...   # some
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
STEPS = 30  # rules in a game
MOST_GAMES = 200
# Seeds of the games: that of the short test, and others for a mean that is not one game's luck.
SEEDS = (1, 2, 3)


class Fault(NamedTuple):
    """A fault of the code.

    Attributes:
        name: What is wrong, in few words.
        invariant: The invariant that it breaks.
        path: The file, below `lrwatch`.
        old: The text that is right, once in the file.
        new: The text in its place.
        games: The game that found it, with one of the first seeds, as docs/guarantees.md says.
        also: Path, old and new text of the other places, where one check stands behind another.
    """

    name: str
    invariant: str
    path: str
    old: str
    new: str
    games: int
    also: tuple[tuple[str, str, str], ...] = ()

    @property
    def edits(self) -> list[tuple[str, str, str]]:
        """Path below `lrwatch`, old and new text of each place."""
        return [(self.path, self.old, self.new), *self.also]


# fmt: off
FAULTS = (
    Fault("the trainer applies a command twice", "I3", "client/client.py",
          "        if desired.scale == scale_state.scale:\n            self._mover.rest(desired.generation)\n            return\n        try:\n            self._mover.begin(desired, step)",
          "        try:\n            self._mover.begin(desired, step)\n            self._mover.begin(desired, step)", 1),
    Fault("the trainer takes an older generation", "I3", "client/interlock.py",
          "    if desired.generation <= generation:", "    if desired.generation < 1:", 3),
    Fault("the trainer ignores the bounds of the scale", "I2", "client/interlock.py",
          "    if not limits.min_scale <= desired.scale <= limits.max_scale:", "    if desired.scale <= 0:", 7),
    Fault("the trainer ignores the bound of one change", "I2", "client/interlock.py",
          "    if not lowest <= Ramp(", "    if not 0 <= Ramp(", 7),
    Fault("the trainer ignores the last step of a command", "I2", "client/interlock.py",
          "step > desired.not_after_step:", "step > 10 * desired.not_after_step:", 6),
    Fault("the trainer forgets the highest token", "I5", "client/judge.py",
          "        state = replace(state, max_token=max(state.max_token, desired.token))", "        state = replace(state, max_token=0)", 8),
    Fault("the trainer takes commands for another start", "I4", "client/interlock.py",
          "    if desired.incarnation != incarnation:", "    if not desired.incarnation:", 3,
          (("client/client.py", "if desired is None or desired.incarnation != self._incarnation:", "if desired is None:"),)),
    Fault("a resume keeps a command from before it", "I4", "client/client.py",
          "if desired is None or desired.incarnation != self._incarnation:", "if desired is None:", 5),
    Fault("a resume keeps the scale of later", "I1", "client/client.py",
          "self._mover.restore(saved.scale_state, saved.step)",
          "self._mover.restore(replace(saved.scale_state, scale=self._box.scale_state.scale), saved.step)", 6),
    Fault("the trainer says applied before it is", "I6", "client/judge.py",
          'return Decision(_answer(state, desired, "pending"))', 'return Decision(_answer(state, desired, "applied"))', 3),
    Fault("the daemon forgets a command's last step", "I2", "control/reconciler.py",
          "not_after_step=min(self.observed.step + patience, MAX_INT)", "not_after_step=None", 1),
    Fault("the daemon believes its own desired.json", "I6", "control/reconciler.py",
          'if observed.status == "applied":', 'if observed.status in ("applied", "pending"):', 3),
    Fault("the daemon takes another start's acknowledgement", "I6", "control/reconciler.py",
          "        if observed.incarnation != self._incarnation:\n            self._incarnation = observed.incarnation\n            self._clear_pending()",
          "        if observed.incarnation != self._incarnation and self._desired is None:\n            self._incarnation = observed.incarnation", 3),
    Fault("a daemon that has lost the lease writes on", "I5", "control/reconciler.py",
          "if not self._claimed or self.fenced:", "if not self._claimed:", 1),
    Fault("the daemon sends before it has saved", "I6", "daemon/commands.py",
          "        self._in_flight, self._undoes = cause,", "        self.reconciler.publish()\n        self._in_flight, self._undoes = cause,", 1),
    Fault("a torn file counts as absent", "I7", "control/directory.py",
          "            fault = error.code\n", "            fault, self.is_absent = error.code, True\n", 33),
    Fault("a hold does not hold back decisions", "hold", "daemon/commands.py",
          '        if self.held:\n            return "held"\n', "", 8),
    Fault("a hold does not hold back operators", "hold", "daemon/operator.py",
          "    if commands.held:\n", "    if False:\n", 8),
    Fault("what needs an approval is sent without", "approval", "daemon/commands.py",
          '            case "approve":\n                return "awaits approval"', '            case "approve" if self.can_send:\n                return "sent"', 3),
    Fault("a trial ends when its way back is refused", "trial", "core/command.py",
          "            trial = None if state.status is Status.IN_FLIGHT else _not_proven(state)", "            trial = None", 26),
    Fault("a daemon that takes over keeps the scale that it knew", "I6", "control/reconciler.py",
          "        if not self._took_over or", "        if not self._took_over or self._incarnation or", 1),
    Fault("an entry does not cover the one before it", "I8", "journal.py",
          "_digest(previous, entry_id, time, run, text))", "_digest(_NONE[1], entry_id, time, run, text))", 1),
)
# fmt: on


def plant(fault: Fault | None, folder: Path, package: Path = ROOT / "lrwatch") -> None:
    """Copy the package into `folder`, with the fault in it.

    Raises:
        ValueError: The text that is to be replaced is not in its file, or more than once.
    """
    shutil.copytree(package, folder / "lrwatch", ignore=shutil.ignore_patterns("__pycache__"))
    if fault is None:
        return
    for name, old, new in fault.edits:
        path = folder / "lrwatch" / name
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(f"{fault.name}: expected its text once in {name}, found it {text.count(old)} times")
        path.write_text(text.replace(old, new), encoding="utf-8")


def games_until_found(
    fault: Fault | None, *, most: int, seed: int, package: Path = ROOT / "lrwatch"
) -> tuple[int | None, str]:
    """Play with the fault until an invariant breaks.

    Args:
        fault: The fault; None plays with the code as it is.
        most: Games after which it counts as not found.
        seed: Seed of the games.
        package: The package that is copied.

    Returns:
        The number of the game that found it, or None, and what that game said.

    Raises:
        ValueError: The fault does not fit the code.
        RuntimeError: The games could not be played.
    """
    with tempfile.TemporaryDirectory() as folder:
        plant(fault, Path(folder), package)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([folder, str(ROOT / "tests")]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [sys.executable, "-m", "support.planted_faults", "--play", str(most), "--seed", str(seed)]
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1:]
    if done.returncode or not last:
        raise RuntimeError(f"no game was played: {done.stderr[-2000:]}")
    number, _, said = last[0].partition(" ")
    return (int(number) or None), said


def play(most: int, seed: int) -> tuple[int, str]:
    """Play in this process. Return the number of the game in which an invariant broke, or 0, and what it said."""
    import hypothesis
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis.errors import HypothesisException
    from hypothesis.stateful import run_state_machine_as_test
    from support.protocol_machine import ProtocolMachine
    from support.protocol_players import SEEN

    found: list[tuple[int, str]] = []

    class Watched(ProtocolMachine):
        """Notes the first failure: hypothesis plays that game again before it tells."""

        def teardown(self) -> None:
            self._note(sys.exc_info()[1])
            try:
                super().teardown()
            except BaseException as error:
                self._note(error)
                raise

        @staticmethod
        def _note(error: BaseException | None) -> None:
            if isinstance(error, Exception) and not isinstance(error, HypothesisException) and not found:
                found.append((SEEN["games"], " ".join(f"{type(error).__name__}: {error}".split())[:200]))

    chosen = settings(
        max_examples=most, stateful_step_count=STEPS, deadline=None, database=None, phases=[Phase.generate],
        report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(Watched), settings=chosen)
    except Exception:
        if not found:  # else the first failure was noted, whatever hypothesis makes of it
            raise
    return found[0] if found else (0, "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Play with each fault, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="words of the faults that are played; all by default")
    parser.add_argument("--most", type=int, default=MOST_GAMES, help="games after which a fault counts as not found")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--package", type=Path, default=ROOT / "lrwatch", help="the package that is copied")
    parser.add_argument("--play", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.play is not None:
        print(*play(given.play, given.seed))
        return
    for fault in FAULTS:
        if not given.names or any(name in fault.name for name in given.names):
            found = [
                games_until_found(fault, most=given.most, seed=seed, package=given.package) for seed in given.seeds
            ]
            numbers = ", ".join("never" if number is None else str(number) for number, _ in found)
            print(f"| {fault.name} | {fault.invariant} | {numbers} | {found[-1][1]}", flush=True)


if __name__ == "__main__":
    main()
