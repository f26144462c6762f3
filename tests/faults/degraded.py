"""A training and a daemon beside it, both in processes of their own, on file systems that can be filled, locked and made read-only."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.daemon_process import DaemonProcess
from support.waiting import eventually

from lrwatch.protocol import OBSERVED_NAME, Observed, decode_observed, read_control_file
from lrwatch.store import Store

RUN = "train"

# Turns of the daemon for which each fault lasts at the least: one message, and not one a turn.
TURNS = 8

# Seconds that anything may take on a machine that is busy with other tests.
PATIENCE = 60.0

# How a message ends that says that something is over.
ENDS = ("can be read now", "can be commanded now", "it works again")

# Steps of the training in the same time.
STEPS = 20

TRAINER = """
import json, sys, threading, time
from support.quadratic import Training
import lrwatch

training, ended = Training(), threading.Event()

def use(scale):
    training.scale = scale

threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
client = lrwatch.attach(use, sys.argv[2], poll_seconds=0.05)
longest = 0.0
with open(sys.argv[1], "a", buffering=1) as log:
    while not ended.is_set():
        log.write(training.lines(1))
        began = time.thread_time()
        client.step(loss=1.0)
        longest = max(longest, time.thread_time() - began)
        time.sleep(0.01)
client.close()
print(json.dumps({"steps": training.done, "longest": longest, "errors": dict(client.errors)}))
"""


class World:
    """A training that never stops, and a daemon that watches it and sends what an operator asks for.

    Args:
        home: The directory of all; `control` and `state` are file systems of their own in it.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runs, self.control, self.state = home / "runs", home / "control", home / "daemon" / "state"
        self.log = self.runs / RUN / f"{RUN}.jsonl"
        self._offset = home / "offset"
        self._asked = 1.0
        for directory in (self.log.parent, self.control, self.state):
            directory.mkdir(parents=True)
        self._mounted: list[Path] = []
        for directory, size in ((self.control, "8m"), (self.state, "16m")):
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(directory)], check=True)
            self._mounted.append(directory)
        try:
            self._start()
        except BaseException:
            self.end()
            raise

    def _start(self) -> None:
        self.log.touch()
        self._err = self.home / "trainer.stderr"
        with self._err.open("w") as err:
            self.trainer = subprocess.Popen(
                [sys.executable, "-c", TRAINER, str(self.log), str(self.control / "lrwatch")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True, cwd=Path(__file__).parents[1],
            )  # fmt: skip
        self.daemon = DaemonProcess(
            self.home / "daemon", "--mode", "approve", "--poll-seconds", "0.1", "--control", self.control / "lrwatch",
            self.runs, before=self._with_own_clock(), fresh=True,
        )  # fmt: skip
        eventually(
            lambda: self.daemon.value("lrwatch_controller_token", run=RUN),
            PATIENCE,
            what="the daemon hears the trainer",
        )

    def _with_own_clock(self) -> list[str]:
        """Return what starts the daemon with a wall clock that can be moved, where there is a compiler."""
        self._offset.write_bytes(bytes(8))
        shim = self.home / "clock.so"
        if shutil.which("gcc") is None:
            return []
        source = Path(__file__).with_name("clock_shim.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True)
        return ["env", f"LD_PRELOAD={shim}", f"CLOCK_OFFSET_FILE={self._offset}"]

    ends_with = 0  # exit code of the daemon
    _ended: dict[str, Any] | None = None

    @property
    def can_move_the_clock(self) -> bool:
        """Whether the daemon has a clock of its own."""
        return (self.home / "clock.so").exists()

    # ---- what happens meanwhile -----------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        """Return what the daemon has said to people."""
        return self.daemon.stderr.splitlines()

    def trainer_lines(self) -> list[str]:
        """Return what the training's client has said to people."""
        return self._err.read_text().splitlines()

    def steps(self) -> int:
        """Return the number of steps that the training has logged."""
        return self.log.read_bytes().count(b"\n")

    def turns(self) -> float:
        """Return the number of turns of the daemon."""
        return self.daemon.value("lrwatch_loop_duration_seconds_count") or 0.0

    def observed(self) -> Observed | None:
        """Return what the trainer says."""
        raw = read_control_file(self.control / "lrwatch", OBSERVED_NAME)
        return None if raw is None else decode_observed(raw)

    def lasts(self, *, unseen: bool = False) -> None:
        """Let the fault last: the training goes on, and the daemon too.

        Args:
            unseen: The daemon has no room for a connection that would tell.
        """
        steps, turns = self.steps(), 0.0 if unseen else self.turns()
        eventually(lambda: self.steps() > steps + (4 if unseen else 1) * STEPS, PATIENCE, what="the training goes on")
        if unseen:
            return
        eventually(lambda: self.turns() >= turns + TURNS, PATIENCE, what="the daemon goes on")

    def ask(self) -> float:
        """Ask for another scale, as `lrwatch set` does. Return it."""
        self._asked = 0.75 if self._asked == 1.0 else 1.0
        store = Store(self.state)
        try:
            store.request(RUN, "operator", "set", str(self._asked), time.time())
        finally:
            store.close()
        return self._asked

    def uses(self, scale: float) -> None:
        """Wait until the training uses a scale."""
        eventually(
            lambda: (seen := self.observed()) is not None and seen.scale == scale, what="the training uses the scale"
        )

    def knock(self) -> None:
        """Open a connection, and do not mind whether it is answered."""
        port = int(self.daemon.address.rpartition(":")[2])
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection,
        ):
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            connection.recv(1)

    def obeys(self) -> None:
        """See that all works: an operator's command reaches the training, and nothing is complained about any more."""
        self.uses(self.ask())
        eventually(lambda: self.daemon.get("/healthz")[0] == 200, PATIENCE, what="the daemon is well")

    def heals(self, before: int) -> None:
        """Wait until the daemon has said of everything it complained of since line `before` that it is over; it searches for runs rarely."""

        def healed() -> bool:
            lines = [line for line in self.lines()[before:] if line.startswith("lrwatch: ")]
            begun = [(i, line.split(": ")[1]) for i, line in enumerate(lines) if not line.endswith(ENDS)]
            return all(any(name in line and line.endswith(ENDS) for line in lines[i:]) for i, name in begun)

        eventually(healed, PATIENCE, what=f"everything is over, {self.lines()[before:]}")

    @contextlib.contextmanager
    def said(self, *words: str, healed: str = "") -> Iterator[list[str]]:
        """See that the daemon says one thing in the time of a fault, and one thing when it is over.

        Args:
            words: What the message has; no message is expected without them.
            healed: What the message at the end has.
        """
        before = len(self.lines())
        found: list[str] = []
        yield found
        if words:
            eventually(lambda: len(self.lines()) > before, PATIENCE, what=f"a message with {words}")
        found += self.lines()[before:]
        expected = bool(words) + bool(healed)
        if healed:
            eventually(lambda: len(self.lines()) - before >= expected, PATIENCE, what=f"a message with {healed}")
            found[:] = self.lines()[before:]
        assert len(found) == expected, found
        assert all(word in found[0] for word in words), found
        assert healed in found[-1] if healed else True, found

    # ---- faults ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def full(self, directory: Path) -> Iterator[None]:
        """Fill the file system of a directory for a while."""
        filling = directory / "filling"
        with filling.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        try:
            yield
        finally:
            filling.unlink()

    @contextlib.contextmanager
    def read_only(self, directory: Path) -> Iterator[None]:
        """Make the file system of a directory read-only for a while."""

        def remounted() -> bool:  # it is busy while somebody writes
            return subprocess.run(["mount", "-o", "remount,ro", str(directory)], capture_output=True).returncode == 0

        eventually(remounted, PATIENCE, what="the file system is read-only")
        try:
            yield
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(directory)], check=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the write lock of the store for a while."""
        database = sqlite3.connect(self.state / "lrwatch.sqlite", isolation_level=None, timeout=10)
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            database.close()

    @contextlib.contextmanager
    def limited(self, kind: int, most: int) -> Iterator[None]:
        """Give the daemon a limit for a while."""
        before = resource.prlimit(self.daemon.process.pid, kind)
        resource.prlimit(self.daemon.process.pid, kind, (most, before[1]))
        try:
            yield
        finally:
            resource.prlimit(self.daemon.process.pid, kind, before)

    @contextlib.contextmanager
    def slow(self, pid: int, calls: str, delay: str) -> Iterator[None]:
        """Let system calls of a process take long for a while."""
        command = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            f"trace={calls}",
            "-e",
            f"inject={calls}:delay_enter={delay}",
        ]
        tracer = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.DEVNULL)
        try:
            eventually(
                lambda: "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text(), PATIENCE, what="strace attaches"
            )
            yield
        finally:
            tracer.terminate()
            tracer.wait(30)

    @contextlib.contextmanager
    def clock_moved(self, seconds: int) -> Iterator[None]:
        """Move the wall clock of the daemon for a while."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("<q", seconds))
        try:
            yield
        finally:
            with self._offset.open("r+b") as file:
                file.write(bytes(8))

    def descriptors(self) -> int:
        """Return the number of descriptors that the daemon has open."""
        return len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))  # noqa: PTH208

    def end(self) -> dict[str, Any]:
        """End both, once. Return what the training found."""
        if self._ended is not None:
            return self._ended
        self._ended = {}
        try:
            code = self.daemon.end()
            assert code == self.ends_with, self.daemon.stderr
            out, _ = self.trainer.communicate("", timeout=30)
            found: dict[str, Any] = json.loads(out)
            self._ended = {**found, "code": self.trainer.returncode, "messages": self.trainer_lines()}
        finally:
            for process in (self.trainer, self.daemon.process):
                if process.poll() is None:
                    process.kill()
                    process.wait()
            for directory in self._mounted:
                subprocess.run(["umount", "-l", str(directory)], check=True)
        return self._ended
