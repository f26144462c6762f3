"""The life of a client in a training: it says hello, writes metrics, takes two commands, and says goodbye.

The training and the worker of the client go in lock step: after every step the worker has one round, and is waited for. The other side
is here: it asks for a half and then for a quarter, and looks at `observed.json` at each of these stops.
"""

from __future__ import annotations

import json
import mmap
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from faults.points import ERRORS, KILL, Point, file_in, points_of
from faults.processes import Flag, Life, traced, was_hit

import lrwatch
from lrwatch.client.worker import Worker
from lrwatch.protocol import (
    DESIRED_NAME,
    METRICS_NAME,
    OBSERVED_NAME,
    Desired,
    Observed,
    ProtocolError,
    decode_observed,
    encode,
    publish,
    read_control_file,
)

NAME = "client"
# The two threads of the client: that of the training, and the worker, which does all that may take time.
LIVES = ("training", "worker")

# Steps of a life.
STEPS = 16

# Steps of a life before which the other side may act; nothing is asked at the last one, it only looks.
STOPS = (3, 9, 15)

# Longest time that a step may take in the training's thread. Its own work is a few microseconds.
STEP_SECONDS = 0.05


class Record:
    """What a training process leaves behind even if it is killed: its checkpoint, and what the client made it use."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1 << 16)

    def write(self, value: dict[str, Any]) -> None:
        """Replace the content."""
        data = json.dumps(value).encode()
        self._memory[8 : 8 + len(data)] = data
        self._memory[:8] = len(data).to_bytes(8, "little")

    def read(self) -> dict[str, Any]:
        """Return the content, which is empty at first."""
        size = int.from_bytes(self._memory[:8], "little")
        found: dict[str, Any] = json.loads(self._memory[8 : 8 + size]) if size else {}
        return found

    def clear(self) -> None:
        """Forget it."""
        self._memory[:8] = bytes(8)


class Turns(threading.Event):
    """The event on which the worker waits, which also tells whether it does."""

    idle = False

    def wait(self, timeout: float | None = None) -> bool:
        self.idle = True
        answer = super().wait(timeout)
        self.idle = False
        return answer

    def have_one(self) -> None:
        """Let the worker have the rounds that are due, and one more."""
        self.settle()
        self.set()
        self.settle()

    def settle(self) -> None:
        """Wait until it waits, or has ended."""
        ends = time.monotonic() + 10.0
        while not self.idle or self.is_set():
            if time.monotonic() > ends:
                raise TimeoutError("the worker does not wait")
            time.sleep(0.0002)


class ClientCourse:
    """All lives of a client in a directory of its own.

    Args:
        home: The directory.

    Attributes:
        reference: Where a life without a fault ends.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._control = home / "lrwatch"
        self._trace = home.parent / f"{home.name}.trace"
        self._record, self._at, self._may_pass = Record(), Flag(), Flag()
        self._worker, self._may_work = Flag(), Flag()
        self._generation = 0
        self._sent: dict[int, float] = {}
        self._stopped_at = 0
        self._seen: list[str] = []
        self.reference = self._undisturbed()
        assert self.reference == self._undisturbed(), "the course depends on the time"

    # ---- the training ---------------------------------------------------------------------------------------------

    def _train(self, saved: dict[str, Any]) -> int:
        used: list[list[float]] = []
        scale = [1.0]

        def use(wanted: float) -> None:
            scale[0] = wanted
            used.append([client.scale if used else 1.0, wanted])

        self._hold_worker()
        client = lrwatch.attach(use, self._control, poll_seconds=60.0)
        turns = self._turns(client)
        if saved:
            client.load_state_dict(saved)
        longest, wrong = 0.0, 0
        began_at = client.state_dict()["step"]
        for step in range(began_at + 1, began_at + STEPS + 1):
            if step - began_at in STOPS:
                self._at.value = step - began_at
                self._may_pass.wait_for(step - began_at)
                turns.have_one()
            began = time.thread_time()
            client.step(loss=1.0 / step)
            longest = max(longest, time.thread_time() - began)
            wrong += client.scale != scale[0]
            self._record.write(
                {"state": client.state_dict(), "used": [after for _, after in used], "longest": longest, "wrong": wrong}
            )
            turns.have_one()
        state = client.state_dict()
        client.close()
        ended = {"ended": True, "scale": client.scale, "errors": dict(client.errors)}
        self._record.write(
            {"state": state, "used": [after for _, after in used], "longest": longest, "wrong": wrong, **ended}
        )
        return 0

    def _hold_worker(self) -> None:
        """Let the worker tell its number, and wait until it may begin."""
        work = Worker._work

        def held(worker: Worker) -> None:
            self._worker.value = threading.get_native_id()
            self._may_work.wait_for(1)
            work(worker)

        Worker._work = held  # type: ignore[assignment, method-assign]

    def _turns(self, client: Any) -> Turns:
        """Put an event in the place of the worker's that tells when it waits, and wait for its first round."""
        turns, before = Turns(), client._box.wake
        client._box.wake = turns
        before.set()  # it waits for that one once more
        turns.settle()
        return turns

    # ---- the other side -------------------------------------------------------------------------------------------

    def _observed(self) -> Observed | None:
        raw = read_control_file(self._control, OBSERVED_NAME)
        return None if raw is None else decode_observed(raw)

    def _look(self) -> None:
        """Act at the stops, as the daemon does: ask a trainer that listens for half of the scale that it has, down to a quarter."""
        at = self._at.value
        if at <= self._stopped_at:
            return
        self._stopped_at = at
        try:
            observed = self._observed()
        except (OSError, ProtocolError) as error:
            self._seen.append(f"observed.json is not whole: {error}")
            observed = None
        if observed is not None:
            self._check(observed)
            wanted = max(observed.scale / 2, 0.25)
            if at != STOPS[-1] and observed.scale != wanted:
                self._generation = max(self._generation, observed.observed_generation) + 1
                self._sent[self._generation] = wanted
                desired = Desired(
                    run="", incarnation=observed.incarnation, generation=self._generation, token=1, scale=wanted
                )
                publish(self._control, DESIRED_NAME, encode(desired))
        self._may_pass.value = at

    def _check(self, observed: Observed) -> None:
        used = self._record.read().get("used", [])
        if (
            observed.status == "applied"
            and observed.applied_step
            and self._sent.get(observed.observed_generation) not in used
        ):
            self._seen.append(f"I6: generation {observed.observed_generation} is acknowledged, and {used} were used")

    # ---- faults ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        self._control.mkdir(parents=True)
        self._control.chmod(0o700)
        self._record.clear()
        self._generation = 0
        self._sent.clear()
        self._seen.clear()

    def _fork(self) -> Life:
        self._at.value = self._may_pass.value = self._worker.value = self._may_work.value = self._stopped_at = 0
        saved = self._record.read().get("state", {})
        return Life(lambda: self._train(saved), self.home)

    def _undisturbed(self) -> dict[str, Any]:
        self._begin()
        code, life = self._live()
        assert code == 0, f"a training that nothing disturbs ends with {code}: {life.stderr[-800:]}"
        return self._ending()

    def _ending(self, began_at: int = 0) -> dict[str, Any]:
        observed, record = self._observed(), self._record.read()
        rows, torn = self._metrics()
        return {
            "scale": record.get("scale"),
            "used": record["used"],
            "observed": None
            if observed is None
            else [observed.scale, observed.life, observed.goodbye, observed.step - began_at],
            "rows": rows,
            "torn rows": torn,
            "temporary files": sorted(path.name for path in self._control.glob(".*.tmp")),
        }

    def _metrics(self) -> tuple[list[int], int]:
        path = self._control / METRICS_NAME
        rows = [_step_of(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        return [step for step in rows if step], rows.count(0)

    def _live(self, thread: str = "", calls: Sequence[str] = (), inject: str = "") -> tuple[int, Life]:
        """Live one life, and trace one of its threads."""
        life = self._fork()
        if thread != "worker":
            self._may_work.value = 1
        if thread == "training":
            with traced(life.pid, calls, self._trace, inject):
                life.go()
                return life.wait(self._look), life
        life.go()
        if thread == "worker":
            self._worker.wait_for(1)
            with traced(self._worker.value, calls, self._trace, inject):
                self._may_work.value = 1
                return life.wait(self._look), life
        return life.wait(self._look), life

    def points(self) -> Iterator[Point]:
        """Return every point of both threads."""
        for thread in LIVES:
            self._begin()
            assert self._live(thread, list(ERRORS))[0] == 0
            yield from points_of(NAME, thread, self._trace, self.home)

    def disturb(self, point: Point) -> list[str]:
        """Live with one fault; after a kill, resume from the checkpoint. Return what is not as it would have been without the fault."""
        self._begin()
        code, life = self._live(point.life, [point.call], f"{point.call}:{point.fault}:when={point.number}")
        if not was_hit(self._trace, point.call, point.file, self._file):
            raise LookupError(f"another call was struck: {point.key}")
        found = self._of_training(life, code, killed=point.fault == KILL)
        wanted = dict(self.reference)
        if point.fault == KILL:
            saved = self._record.read().get("state", {}).get("step", 0)
            before = self._record.read().get("used", [])
            code, life = self._live()
            found += self._of_training(life, code, killed=False)
            ending = self._ending(saved)
            # Of the rows of the steps behind the checkpoint some are there twice: the training made these steps twice.
            rows = ending.pop("rows")
            if missing := set(range(saved + 1, saved + STEPS + 1)) - set(rows):
                found.append(f"rows of steps {sorted(missing)} are missing")
            if ending.pop("torn rows") > 1:
                found.append("more than one row is torn")
            used = before + ending.pop("used")
            if not set(used) <= {1.0, *wanted["used"]} or (used and used[-1] != wanted["used"][-1]):
                found.append(f"I2: {used} were used, without the fault {wanted['used']}")
            wanted = {name: value for name, value in wanted.items() if name in ending}
        else:
            ending = self._ending()
        found += [
            f"{name}: {ending[name]!r}, without the fault {value!r}"
            for name, value in wanted.items()
            if ending[name] != value
        ]
        return found + self._seen

    def _of_training(self, life: Life, code: int, *, killed: bool) -> list[str]:
        record = self._record.read()
        found = []
        if code != (-9 if killed else 0):
            found.append(f"I7: the training ended with {code}: {life.stderr[-400:]}")
        if "Traceback" in life.stderr:
            found.append(f"a traceback: {life.stderr[-400:]}")
        if life.stderr.count("\n") > 1:
            found.append(f"more than one message: {life.stderr[-400:]}")
        if record.get("wrong"):
            found.append("I1: a step had another scale than the client says")
        if record.get("longest", 0.0) > STEP_SECONDS:
            found.append(f"I7: a step took {record['longest']:.3f} s")
        return found

    def _file(self, arguments: str) -> str:
        return file_in(arguments, self.home)


def _step_of(line: bytes) -> int:
    """Return the step of a row, or 0 for one that is torn."""
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return 0


def whole_life(home: Path) -> int:
    """Live a short life in `home`, so that everything it needs is imported."""
    (home / "client").mkdir(mode=0o700)
    with lrwatch.attach([].append, home / "client", poll_seconds=0.01) as client:
        client.step(loss=1.0)
    return 0
