"""The first commands of the README with what they print, made by running them; `make golden` writes them.

The log is that of a made-up training whose loss comes to rest on the noise that its learning rate makes.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from support.daemon_process import DaemonProcess, lrwatch
from support.quadratic import Training
from support.waiting import eventually

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- first commands: made by `make golden` -->", "<!-- end of first commands -->"

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


def rendered(readme: str) -> str:
    """Return the README with the commands and what they print now."""
    block = "\n".join(f"$ {command}\n{output}" for command, output in printed())
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n\n```console\n{block.rstrip()}\n```\n\n{END}{rest.partition(END)[2]}"


def write() -> None:
    """Write the README with the commands and what they print now."""
    README.write_text(rendered(README.read_text(encoding="utf-8")), encoding="utf-8")
