"""`lrwatch` as users start it: a process of its own, with files for its output."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import HTTPError

from prometheus_client.parser import text_string_to_metric_families
from support.forked import LRWATCH, Forked, changes_the_start, run
from support.waiting import eventually


def lrwatch(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with `typed` as standard input.

    It is forked with its imports done, or started afresh if `env` has what Python reads at its start.
    """
    command = ["-m", "lrwatch", *map(str, arguments)]
    environment = {**os.environ, **(env or {})}
    if not changes_the_start(environment):
        return run(command, LRWATCH, cwd=cwd, env=environment, typed=typed)
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd, env=environment, input=typed, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def on_a_terminal(*arguments: str | Path, env: Mapping[str, str] | None = None) -> bytes:
    """Run a command with a terminal for standard error, and check that it ends with 0. Return the output of the terminal."""
    master, slave = os.openpty()
    command, environment = ["-m", "lrwatch", *arguments], {**os.environ, **(env or {})}
    with Path(os.devnull).open("wb") as stdout:
        process = Forked(command, LRWATCH, env=environment, stdout=stdout, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while read := os.read(master, 4096):
            shown += read
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(master)
        code = process.wait(30)
    assert code == 0, shown
    return shown


class DaemonProcess:
    """`lrwatch run` on a free port, until it is ended; forked with its imports done, or afresh where it says so.

    Args:
        home: Where its state and what it prints lie; the same directory again goes on from there.
        arguments: Further arguments of `lrwatch run`.
        before: A command that starts it afresh, such as `setpriv` with its options.
        fresh: Whether it is started afresh, because its memory or the limits on it matter.
    """

    def __init__(self, home: Path, *arguments: str | Path, before: Sequence[str] = (), fresh: bool = False) -> None:
        home.mkdir(exist_ok=True)
        self.state = home / "state"
        self._out, self._err = home / "stdout", home / "stderr"
        command = ["-m", "lrwatch", "run", "--listen", "127.0.0.1:0", "--state", self.state, *arguments]
        self.process: Forked | subprocess.Popen[bytes]
        with self._out.open("w") as out, self._err.open("w") as err:
            if before or fresh:
                afresh = [*before, sys.executable, *map(str, command)]
                self.process = subprocess.Popen(afresh, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
            else:
                self.process = Forked(command, LRWATCH, stdout=out, stderr=err)

    @property
    def stdout(self) -> str:
        """What it printed as data."""
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        """What it printed for people."""
        return self._err.read_text()

    @property
    def address(self) -> str:
        """Where it serves, as its first line says."""
        eventually(lambda: "\n" in self.stderr, what="a first line")
        line = self.stderr.partition("\n")[0]
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)", line)
        assert found, line
        return found[1]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of what it serves there."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric with these labels, summed over all others; None where /metrics has none."""
        found = [
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)
