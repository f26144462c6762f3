"""The first commands of the README with what they print, made by running them.

The log is that of a made-up training whose loss comes to rest on the noise that its learning rate makes.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from support.daemon_process import DaemonProcess, lrwatch
from support.quadratic import Training
from support.waiting import eventually

# The first proposal is made, and still stands.
STEPS = 700
_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+")
_AGO = re.compile(r"\b(?:\d+ (?:s|min) ago|now)\b")


def printed() -> list[tuple[str, str]]:
    """Run the commands beside a log, and return each with what it prints, the port and the time as in the examples."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "train.log").write_text(Training().lines(STEPS))
        replayed = lrwatch("replay", "train.log", cwd=home)
        daemon = DaemonProcess(home / "daemon", home / "train.log")
        try:
            eventually(lambda: daemon.value("lrwatch_run_step", run="train") == STEPS, 60, "all steps")
            address = _PORT.sub("9767", f"listening on {daemon.address}\n")
            status = lrwatch("status", "--state", daemon.state, cwd=home)
        finally:
            daemon.end()
        for ended in (replayed, status):
            assert ended.returncode == 0, ended.stderr
    return [
        ("lrwatch replay train.log      # what it would have found and done; changes nothing", replayed.stdout),
        ("lrwatch run train.log         # watch it: a live page, /metrics for Prometheus, and the findings as they come", address),
        ("lrwatch status                # where it stands, in another terminal", _AGO.sub(_now, status.stdout)),
    ]  # fmt: skip


def _now(found: re.Match[str]) -> str:
    return "2 s ago".ljust(len(found[0]))


def first_commands() -> str:
    """Return the commands with what they print now, as a block of a page."""
    block = "\n".join(f"$ {command}\n{output}" for command, output in printed())
    return f"```console\n{block.rstrip()}\n```"
