"""The lives of a daemon: schema and first command; acknowledgement, effect and an operator's command; and what follows.

The daemon is `lrwatch run --once` over a log that grows between its lives. The trainer is the log and an `observed.json` that
acknowledges whatever was asked, at the same steps each time.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults.points import ERRORS, Point, file_in, points_of
from faults.processes import Life, traced, was_hit
from support.quadratic import Training

from lrwatch.cli import main
from lrwatch.protocol import DESIRED_NAME, Desired, Observed, decode_desired, encode, publish, read_control_file
from lrwatch.store import Store

NAME = "daemon"
LIVES = ("first", "second")

INCARNATION = "a" * 32

# Steps in the log, piece by piece: behind the first one comes a command, and with the second its effect and what an operator asks for.
STEPS = (120, 60, 60, 60)

# The last piece that is in the log of a life, and those of the lives that follow it.
PIECES = {"first": (0, (1,)), "second": (1, (2, 3))}

# The scale that the operator asks for before the second life.
ASKED = 0.2

# Steps in which this training gets most of the way to where its learning rate lets it.
TIME = 10.0

# Journal fields that depend on the time.
VOLATILE = ("time", "hash")

Ending = dict[str, Any]


class DaemonCourse:
    """All lives of a daemon in a directory of its own.

    Args:
        home: The directory.

    Attributes:
        reference: Where a course without a fault ends, by the life that is disturbed.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._log, self._state = home / "run" / "train.jsonl", home / "state"
        self._control = home / "run" / "lrwatch"
        self._snapshots = home.parent / f"{home.name}.snapshots"
        self._trace = home.parent / f"{home.name}.trace"
        self._pieces: list[str] = []
        self._sent: list[Desired] = []
        self._begin()
        training = Training(time=TIME)
        for life in LIVES:
            self._pieces += [training.lines(steps) for steps in STEPS[len(self._pieces) : PIECES[life][0] + 1]]
            if life == LIVES[0]:
                self._observe(step=STEPS[0])
            else:
                self._acknowledge(1)
                self._ask(ASKED)
            self._write_log(PIECES[life][0])
            self._keep(life)
            self._live()
            wanted = self._desired()
            assert wanted is not None, "a life asks for nothing"
            training.scale = wanted.scale
        self._pieces += [training.lines(steps) for steps in STEPS[len(self._pieces) :]]
        self.reference = {life: self._undisturbed(life) for life in LIVES}
        assert self.reference == {life: self._undisturbed(life) for life in LIVES}, "the course depends on the time"

    # ---- the parts of a course ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        for path in (self.home, self._snapshots):
            shutil.rmtree(path, ignore_errors=True)
        self._control.mkdir(parents=True)
        self._control.chmod(0o700)
        self._log.touch()
        self._snapshots.mkdir(parents=True)

    def _keep(self, life: str) -> None:
        """Keep what there is before a life. The log only grows, so its length is enough and it stays the same file."""
        kept = self._snapshots / life
        shutil.copytree(self._control, kept / "control")
        if self._state.exists():
            shutil.copytree(self._state, kept / "state")

    def _restore(self, life: str) -> None:
        kept = self._snapshots / life
        for path, name in ((self._control, "control"), (self._state, "state")):
            shutil.rmtree(path, ignore_errors=True)
            if (kept / name).exists():
                shutil.copytree(kept / name, path)
        self._write_log(PIECES[life][0])
        self._sent.clear()

    def _write_log(self, last: int) -> None:
        """Let the log have the pieces up to one, and no more."""
        text = "".join(self._pieces[: last + 1]).encode()
        size = self._log.stat().st_size
        if size > len(text):
            os.truncate(self._log, len(text))
        with self._log.open("ab") as log:
            log.write(text[self._log.stat().st_size :])
        os.utime(self._log)

    def _observe(self, **changes: Any) -> None:
        values: dict[str, Any] = {"run": "", "incarnation": INCARNATION, "step": 1, "scale": 1.0}
        publish(self._control, "observed.json", encode(Observed(**(values | changes))))

    def _desired(self) -> Desired | None:
        raw = read_control_file(self._control, DESIRED_NAME)
        return None if raw is None else decode_desired(raw)

    def _acknowledge(self, piece: int) -> None:
        """Be the trainer: use what is wanted, say so, and log the next steps."""
        step = sum(STEPS[:piece])
        if (wanted := self._desired()) is not None:
            self._observe(
                step=step + 2, scale=wanted.scale, observed_generation=wanted.generation, status="applied",
                applied_step=step + 2, max_token=wanted.token,
            )  # fmt: skip
        self._write_log(piece)

    def _ask(self, scale: float) -> None:
        """Be the operator: leave a request, as `lrwatch set` does."""
        store = Store(self._state)
        store.request("train", "operator", "set", str(scale), 0.0)
        store.close()

    def _fork(self) -> Life:
        arguments = ["run", "--once", "--format", "json", "--mode", "auto", "--state", str(self._state), str(self._log)]

        def body() -> int:
            sys.argv = ["lrwatch", *arguments]
            main()
            return 0

        return Life(body, self.home)

    def _live(self) -> None:
        """Live one life that nothing disturbs."""
        life = self._fork()
        life.go()
        code = life.wait()
        assert code == 0, f"a life that nothing disturbs ends with {code}: {life.stderr[-500:]}"
        self._note_sent()

    def _note_sent(self) -> None:
        if (wanted := self._desired()) is not None and wanted not in self._sent:
            self._sent.append(wanted)

    def _go_on(self, life: str) -> None:
        """Restart, and live on with what follows in the log."""
        self._live()
        for piece in PIECES[life][1]:
            self._acknowledge(piece)
            self._live()

    def _undisturbed(self, life: str) -> Ending:
        self._restore(life)
        self._live()
        self._go_on(life)
        return self._ending()

    def _ending(self) -> Ending:
        store = Store(self._state)
        try:
            journal = [
                {name: value for name, value in entry.as_json().items() if name not in VOLATILE}
                for entry in store.journal()
            ]
            broken = store.broken_link()
            integrity = store._db.execute("PRAGMA integrity_check").fetchone()[0]
        finally:
            store.close()
        wanted = self._desired()
        return {
            "journal": json.loads(json.dumps(journal).replace(str(self.home), "HOME")),
            "broken link": broken,
            "integrity": integrity,
            "wanted": None if wanted is None else [wanted.generation, wanted.scale, wanted.incarnation],
            "temporary files": sorted(path.name for path in self.home.rglob("*.tmp")),
        }

    # ---- faults ---------------------------------------------------------------------------------------------------

    def points(self) -> Iterator[Point]:
        """Return every point of both lives."""
        for name in LIVES:
            self._restore(name)
            life = self._fork()
            with traced(life.pid, list(ERRORS), self._trace):
                life.go()
                assert life.wait() == 0
            yield from points_of(NAME, name, self._trace, self.home)

    def disturb(self, point: Point) -> list[str]:
        """Live with one fault, restart, go on. Return what is not as it would have been without the fault."""
        self._restore(point.life)
        found: list[str] = []
        life = self._fork()
        with traced(life.pid, [point.call], self._trace, f"{point.call}:{point.fault}:when={point.number}"):
            life.go()
            code = life.wait()
        if not was_hit(self._trace, point.call, point.file, self._file):
            raise LookupError(f"another call was struck: {point.key}")
        if code not in (0, 4, -9):
            found.append(f"ended with {code}: {life.stderr[-400:]}")
        if "Traceback" in life.stderr:
            found.append(f"a traceback: {life.stderr[-400:]}")
        kept = self._ending()["journal"] if (self._state / "lrwatch.sqlite").exists() else []
        self._note_sent()
        self._go_on(point.life)
        ending, wanted = self._ending(), self.reference[point.life]
        found += _differences(ending, wanted)
        if ending["journal"][: len(kept)] != kept:
            found.append("I8: the journal was changed, not only added to")
        return found + self._broken_invariants(wanted["journal"])

    def _file(self, arguments: str) -> str:
        return file_in(arguments, self.home)

    def _broken_invariants(self, journal: list[Ending]) -> list[str]:
        allowed = {ASKED, *(entry["scale"] for entry in journal if entry["event"] == "command")}
        found = []
        if not {one.scale for one in self._sent} <= allowed:
            found.append(f"I2: scales {[one.scale for one in self._sent]} were sent, of {sorted(allowed)}")
        by_generation: dict[int, set[float]] = {}
        for one in self._sent:
            by_generation.setdefault(one.generation, set()).add(one.scale)
        if any(len(scales) > 1 for scales in by_generation.values()):
            found.append(f"I3: one generation has several scales: {by_generation}")
        if any(one.incarnation != INCARNATION for one in self._sent):
            found.append("I4: a command is for another start of the trainer")
        if [one.token for one in self._sent] != sorted(one.token for one in self._sent):
            found.append("I5: a token is lower than one before it")
        return found


def _differences(ending: Ending, wanted: Ending) -> list[str]:
    found = []
    for name, value in wanted.items():
        if ending[name] == value:
            continue
        if name != "journal":
            found.append(f"{name}: {ending[name]!r}, without the fault {value!r}")
            continue
        pairs = zip(ending[name], value, strict=False)
        at = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(ending[name]), len(value)))
        found.append(
            f"the journal differs at {at} of {len(value)}: {str(ending[name][at : at + 1])[:500]}, "
            f"without the fault {str(value[at : at + 1])[:500]}"
        )
    return found


def whole_life(home: Path, run: Callable[[], None] = main) -> int:
    """Live a first life in `home`, so that everything it needs is imported."""
    (home / "train.jsonl").write_text(Training(time=TIME).lines(STEPS[0]))
    (home / "lrwatch").mkdir(mode=0o700)
    publish(
        home / "lrwatch", "observed.json", encode(Observed(run="", incarnation=INCARNATION, step=STEPS[0], scale=1.0))
    )
    log = str(home / "train.jsonl")
    sys.argv = ["lrwatch", "run", "--once", "--format", "json", "--mode", "auto", "--state", str(home / "state"), log]
    try:
        run()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    return 0
