"""A training says who it is, that it runs, and why it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import eventually

import lrwatch
from lrwatch.integrations._base import CallbackBase
from lrwatch.protocol import Observed, Process, decode_observed, is_alive, own_process

BEGIN = """
import sys
import lrwatch

def main():
    watch = lrwatch.attach(None, sys.argv[1], poll_seconds=0.01)
    for step in range(30):
        watch.step(loss=1.0)
    return watch

"""

ENDS = {
    "close": "main().close()",
    "exit": "watch = main()",
    "released": "main()",
    "exception": "watch = main(); raise RuntimeError('no memory')",
    "interrupt": "watch = main(); raise KeyboardInterrupt",
    "exit after an exception that was handled": """
watch = main()
try:
    raise RuntimeError
except RuntimeError:
    pass
""",
    "exit on request": "watch = main(); sys.exit(1)",
    "exception in with": """
with lrwatch.attach(None, sys.argv[1], poll_seconds=0.01) as watch:
    for step in range(30):
        watch.step(loss=1.0)
    raise RuntimeError
""",
    "close in with": """
with lrwatch.attach(None, sys.argv[1], poll_seconds=0.01) as watch:
    for step in range(30):
        watch.step(loss=1.0)
    sys.exit(0)
""",
}


def said(control: Path) -> Observed:
    return decode_observed((control / "observed.json").read_bytes())


def process_of(observed: Observed) -> Process:
    assert observed.pid is not None
    assert observed.pid_start is not None
    return Process(observed.pid, observed.pid_start, observed.machine)


@pytest.mark.slow
@pytest.mark.parametrize("how", ENDS)
def test_a_training_says_why_it_has_ended(tmp_path: Path, how: str) -> None:
    control = tmp_path / "lrwatch"
    subprocess.run([sys.executable, "-c", BEGIN + ENDS[how], str(control)], stderr=subprocess.DEVNULL, timeout=60)
    observed = said(control)
    assert (observed.life, observed.goodbye) == ("ended", how.split()[0])
    assert observed.step == 30
    assert is_alive(process_of(observed)) is False


@pytest.mark.slow
def test_a_training_that_is_killed_says_nothing_and_its_process_is_seen_to_be_gone(tmp_path: Path) -> None:
    control = tmp_path / "lrwatch"
    script = BEGIN + "watch = main()\nprint('ready', flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(control)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as training:
        assert training.stdout is not None
        training.stdout.readline()
        eventually((control / "observed.json").exists, what="a hello")
        observed = said(control)
        assert (observed.life, observed.goodbye, observed.pid) == ("running", None, training.pid)
        assert is_alive(process_of(observed)) is True
        training.send_signal(signal.SIGKILL)
        eventually(lambda: is_alive(process_of(observed)) is False, what="gone, though nobody has waited for it")
    assert said(control).life == "running"
    assert is_alive(process_of(observed)) is False


def test_a_new_attempt_in_the_same_directory_runs_again(tmp_path: Path) -> None:
    control = tmp_path / "lrwatch"
    lrwatch.attach(None, control).close()
    first = said(control)
    with lrwatch.attach(None, control):
        eventually(lambda: said(control).incarnation != first.incarnation, what="a hello")
        assert said(control).life == "running"
    assert said(control).life == "ended"


def test_the_end_of_a_callback_is_a_goodbye(tmp_path: Path) -> None:
    callback = CallbackBase(tmp_path / "lrwatch")
    callback._attach(None, 0)
    callback._close()
    assert said(tmp_path / "lrwatch").goodbye == "callback"


def test_a_process_is_told_from_another_with_its_number_and_from_one_elsewhere() -> None:
    own = own_process()
    assert own is not None
    assert own.pid == os.getpid()
    assert is_alive(own) is True
    assert is_alive(Process(own.pid, own.start + 1, own.machine)) is False, "the number was used again"
    assert is_alive(Process(own.pid, own.start, "another boot/pid:[1]")) is None, "who knows"
    assert is_alive(Process(1, own.start, own.machine)) is False
