"""`lrwatch PATH` and `status --watch`: a table that goes on, in colour on a terminal and in plain text elsewhere."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.quadratic import Training
from support.waiting import eventually

from lrwatch.cli import cli

pytestmark = pytest.mark.slow

# A program that draws needs a moment to start where the machine is busy with others.
soon = partial(eventually, timeout=60.0)

ESCAPE = "\x1b"
HOSTILE = "a[bold]b\x1b[2J"


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *arguments: str | Path, columns: int = 130, rows: int = 24, **environ: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        command = [sys.executable, "-m", "lrwatch", *map(str, arguments)]
        size = {"LINES", "COLUMNS"}  # of the terminal that the tests run in, which rich would believe
        own = {name: value for name, value in os.environ.items() if name not in size}
        environment = {**own, "TERM": "xterm-256color", **environ}
        if "NO_COLOR" not in environ:
            environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment)
        os.close(theirs)
        self._ours = ours
        self._bytes = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def text(self) -> str:
        """All that it has written."""
        return self._bytes.decode(errors="replace")

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join()
        assert self.process.stderr is not None
        self.stderr = self.process.stderr.read().decode()
        self.process.stderr.close()
        os.close(self._ours)
        return code

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._ours, 1 << 16)
            except OSError:  # the other end is closed
                return
            if not part:
                return
            self._bytes += part


@contextmanager
def terminal(*arguments: str | Path, columns: int = 130, rows: int = 24, **environ: str) -> Iterator[Terminal]:
    shown = Terminal(*arguments, columns=columns, rows=rows, **environ)
    try:
        yield shown
    finally:
        if shown.process.poll() is None:
            shown.end(signal.SIGKILL)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for name, steps in (("flat", 700), ("young", 30)):
        (folder / name).mkdir(parents=True)
        (folder / name / "log.jsonl").write_text(Training().lines(steps))
    return folder


def test_a_path_in_place_of_a_command_is_watched_in_colour_until_ctrl_c_and_nothing_is_left(
    runs: Path, tmp_path: Path
) -> None:
    before = sorted(path for path in tmp_path.rglob("*"))
    with terminal(runs) as shown:
        soon(lambda: "plateau" in shown.text and "young" in shown.text, what="the table")
        with (runs / "young" / "log.jsonl").open("a") as log:
            log.writelines(Training().lines(77).splitlines(keepends=True)[30:])
        soon(lambda: re.search(r"\b77\b", shown.text), what="the table goes on")
        assert shown.end(signal.SIGINT) == 130
    assert ESCAPE in shown.text
    assert shown.text.endswith(f"{ESCAPE}[?25h") or f"{ESCAPE}[?25h" in shown.text[-20:]  # the cursor is back
    assert re.search("[▂▃▄▅▆▇█]", shown.text)
    assert shown.stderr.strip() == ""
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_with_no_color_a_terminal_gets_plain_text(runs: Path) -> None:
    with terminal(runs, NO_COLOR="1") as shown:
        soon(lambda: "plateau" in shown.text and "young" in shown.text, what="the table")
        assert shown.end(signal.SIGTERM) == 0
    assert ESCAPE not in shown.text


def test_without_rich_the_table_is_plain_and_says_what_to_install(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\nu.find_spec = lambda name, *a: None if name == 'rich' else find(name, *a)\n"
    )
    with terminal(runs, PYTHONPATH=str(tmp_path / "blocked")) as shown:
        soon(lambda: "young" in shown.text, what="the table")
        shown.end()
    assert ESCAPE not in shown.text
    assert "pip install 'lrwatch[live]'" in shown.stderr


def test_more_runs_than_the_window_has_rows_are_counted_and_a_hostile_name_is_text(runs: Path) -> None:
    (runs / "young").rename(runs / HOSTILE)  # it moves the cursor, and it is markup
    for number in range(20):
        (runs / f"more-{number:02}").mkdir()
        (runs / f"more-{number:02}" / "log.jsonl").write_text(Training().lines(20))
    with terminal(runs, rows=14, columns=120) as shown:
        soon(lambda: "and 14 more" in shown.text, what="the count")
        shown.end()
    assert "22 runs: 1 worth a look, 21 fine." in shown.text
    assert "flat" in shown.text  # the one that needs a look comes first
    assert r"a[bold]b\x1b[2J" in shown.text
    assert f"{ESCAPE}[2J" not in shown.text


def test_to_a_file_it_is_plain_text_printed_when_there_is_news(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", "lrwatch", str(runs)], stdout=file, stderr=file)
    try:
        soon(lambda: "plateau" in out.read_text(), what="the table")
        (runs / "later").mkdir()
        (runs / "later" / "log.jsonl").write_text(Training().lines(20))
        soon(lambda: "3 runs" in out.read_text(), what="the new run")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
    text = out.read_text()
    assert ESCAPE not in text
    assert "Traceback" not in text
    assert text.count("run ") <= 8  # not a table a second


@pytest.mark.parametrize("word", ["stauts", "runs/nothing*", "no-such.log"])
def test_a_word_that_is_neither_a_command_nor_there_is_refused(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.UsageError) as refused:
        cli.main([word], standalone_mode=False)
    assert word in refused.value.message
    assert ("Did you mean 'status'?" in refused.value.message) is (word == "stauts")
    assert refused.value.exit_code == 2


def test_a_command_is_a_command_even_where_a_file_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(Training().lines(10))
    ended = lrwatch("status", "--state", tmp_path / "none", cwd=tmp_path)
    assert ended.returncode == 4
    assert "expected the state of a daemon" in ended.stderr


def test_status_watch_shows_the_runs_of_a_daemon_live_for_people_and_for_programs(runs: Path, tmp_path: Path) -> None:
    daemon = DaemonProcess(tmp_path / "daemon", "--poll-seconds", "0.1", runs)
    try:
        soon(lambda: daemon.value("lrwatch_ingest_samples_total", run="young"), what="the runs")
        with terminal("status", "--watch", "--state", daemon.state) as shown:
            soon(lambda: "plateau" in shown.text and "young" in shown.text, what="the table")
            with (runs / "young" / "log.jsonl").open("a") as log:
                log.writelines(Training().lines(88).splitlines(keepends=True)[30:])
            soon(lambda: re.search(r"\b88\b", shown.text), what="the table goes on")
            assert "no daemon" not in shown.text
            daemon.end()
            soon(lambda: "no daemon is running" in shown.text, what="that the daemon has ended")
            assert shown.end(signal.SIGINT) == 130
        command = ["status", "young", "--watch", "--format", "json", "--state", str(daemon.state)]
        program = subprocess.Popen([sys.executable, "-m", "lrwatch", *command], stdout=subprocess.PIPE, text=True)
        try:
            assert program.stdout is not None
            assert json.loads(program.stdout.readline())["step"] == 88
            program.send_signal(signal.SIGINT)
            assert program.wait(30) == 130
        finally:
            program.kill()
            program.wait()
            program.stdout.close()  # type: ignore[union-attr]
    finally:
        daemon.end(signal.SIGKILL)
