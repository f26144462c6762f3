"""Run of the demo: nine trainings, a daemon beside three of them, and the story of how they ended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from lrwatch.config import Config, load
from lrwatch.demo.story import Ending, faults_of, tell
from lrwatch.demo.sweep import LR, START_RATES, STEPS
from lrwatch.errors import InputError
from lrwatch.offline.report_data import curves, of_run
from lrwatch.report import MetricCurve, ReportData, write
from lrwatch.report.model.timeline import lr_changes
from lrwatch.store import Store

# The demo polls more often than a daemon on a real run, whose steps are slower.
SETTINGS = """\
[watch]
paths = ["{folder}"]

[policy]
mode = "auto"

[daemon]
poll_seconds = 0.05
"""

# Seconds within which the daemon must serve its page, and within which it must have read the last lines of the trainings.
START_SECONDS, END_SECONDS = 60.0, 60.0

# Seconds between two looks at the progress, and between two lines about it where there is no terminal.
LOOK_SECONDS, LINE_SECONDS = 0.2, 5.0

_LAST_STEP = re.compile(rb"step=(\d+)(?!.*step=)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Files:
    """Where things are.

    Attributes:
        home: The demo's own directory.
    """

    home: Path

    def log(self, way: str, lr: float) -> Path:
        """Return the log of a training, in a directory of its own."""
        return self.home / way / f"lr-{lr:g}" / "train.log"

    @property
    def settings(self) -> Path:
        """The daemon's configuration."""
        return self.home / "lrwatch.toml"

    @property
    def state(self) -> Path:
        """The daemon's state."""
        return self.home / "state"


def run_demo(seconds: float, listen: str, report: Path | None, *, seed: int = 0, insecure: bool = False) -> int:
    """Run the demo and print its story.

    Args:
        seconds: Duration of the trainings. The number of steps is fixed, because the learning rates were swept for it.
        listen: Address of the live page and of `/metrics`, HOST:PORT.
        report: File for the report; one in the demo's own directory unless given.
        seed: Seed of weights, data and batches.
        insecure: Whether other machines may read.

    Returns:
        The exit code: 1 if a training ended worse than without lrwatch, or a change was not acknowledged.
    """
    files = _Files(Path(tempfile.mkdtemp(prefix="lrwatch-demo-")))
    (files.home / "runs").mkdir()
    files.settings.write_text(SETTINGS.format(folder=files.home / "runs"), encoding="utf-8")
    _say(
        f"The same small network is trained nine times, {STEPS:,} steps each: from three start rates, alone, with the rule of "
        f"torch's\nReduceLROnPlateau at its defaults, and with lrwatch beside it. It takes about {_about(seconds)} seconds."
    )
    with contextlib.ExitStack() as processes:
        daemon = processes.enter_context(_daemon(files, listen, insecure=insecure))
        _say(f"Watch it live: {_address(daemon, files)}")
        trainings = [processes.enter_context(each) for each in _trainings(files, seed, STEPS / seconds)]
        _wait(trainings, files)
        _wait_for_daemon(daemon, files)
    config = load(files.settings)
    store = Store(files.state)
    try:
        pages = [of_run(f"lr-{lr:g}", store, config) for lr in START_RATES]
    finally:
        store.close()
    endings = [_ending(lr, page, files, config) for lr, page in zip(START_RATES, pages, strict=True)]
    report = report or files.home / "report.html"
    _write_report(endings, pages, files, config, report)
    color = False if os.environ.get("NO_COLOR") else None
    for line in ["", *tell(endings, LR, STEPS), "", *_where(files, report)]:
        click.echo(line, color=color)
    return 1 if faults_of(endings) else 0


def _say(text: str) -> None:
    click.echo(text, err=True)


def _about(seconds: float) -> int:
    """Return the duration of the demo with what comes before and after the trainings, to ten seconds."""
    return 10 * round((seconds + 8) / 10)


def _where(files: _Files, report: Path) -> Iterator[str]:
    yield f"report   {report}"
    yield f"logs     {files.home / 'runs'}"
    yield f"config   {files.settings}"
    yield f"journal  lrwatch journal --state {files.state}"


# ---- processes ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _process(command: Sequence[str], errors: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module of lrwatch in a process that does not outlive the block; its standard error goes into a file."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }  # the matrices are too small to share
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stderr=stderr, stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _daemon(
    files: _Files, listen: str, *, insecure: bool
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    command = ["lrwatch", "run", "--config", str(files.settings), "--state", str(files.state), "--listen", listen]
    return _process([*command, *(["--insecure-listen"] if insecure else [])], files.home / "daemon.err")


def _trainings(
    files: _Files, seed: int, pace: float
) -> Iterator[contextlib.AbstractContextManager[subprocess.Popen[bytes]]]:
    """Yield the processes: one for each training with lrwatch, and one for all others."""
    common = ["lrwatch.demo.trainer", f"--steps={STEPS}", f"--seed={seed}", f"--pace={pace}"]
    rest = list(common)
    for lr in START_RATES:
        logs = {way: files.log(way, lr) for way in ("runs", "alone", "torch")}
        for log in logs.values():
            log.parent.mkdir(parents=True)
        control = logs["runs"].parent / "lrwatch"
        own = [f"--lr={lr}", f"--log={logs['runs']}", f"--control={control}"]
        yield _process([*common, *own], files.home / f"lr-{lr:g}.err")
        rest += [f"--lr={lr}", f"--log={logs['alone']}", f"--torch-log={logs['torch']}"]
    yield _process(rest, files.home / "without.err")


def _address(daemon: subprocess.Popen[bytes], files: _Files) -> str:
    """Wait for the address that the daemon prints first, and return it."""
    errors = files.home / "daemon.err"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and daemon.poll() is None:
        found = re.search(r"^listening on (\S+)$", errors.read_text(errors="replace"), re.MULTILINE)
        if found:
            return found[1]
        time.sleep(LOOK_SECONDS)
    raise _failed("a daemon that serves its page", daemon, errors)


def _wait(trainings: Sequence[subprocess.Popen[bytes]], files: _Files) -> None:
    """Show a bar until all trainings have ended, or lines where there is no terminal."""
    logs = [files.log(way, lr) for way in ("runs", "alone") for lr in START_RATES]
    errors = [*(files.home / f"lr-{lr:g}.err" for lr in START_RATES), files.home / "without.err"]
    is_terminal = sys.stderr.isatty()
    said_at = time.monotonic()
    with click.progressbar(length=STEPS, label="training", file=sys.stderr) as bar:
        while any(training.poll() is None for training in trainings):
            step = min(_last_step(log) for log in logs)
            bar.update(step - bar.pos)
            if not is_terminal and time.monotonic() - said_at >= LINE_SECONDS:
                said_at = time.monotonic()
                _say(f"  step {step:,} of {STEPS:,}")
            for training, log in zip(trainings, errors, strict=True):
                if training.poll():
                    raise _failed("trainings that end without an error", training, log)
            time.sleep(LOOK_SECONDS)
        bar.update(STEPS - bar.pos)
    for training, log in zip(trainings, errors, strict=True):
        if training.returncode:
            raise _failed("trainings that end without an error", training, log)


def _last_step(log: Path) -> int:
    """Return the last step of a log; 0 before there is one."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 200))
            found = _LAST_STEP.search(file.read())
    except FileNotFoundError:
        return 0
    return int(found[1]) if found else 0


def _wait_for_daemon(daemon: subprocess.Popen[bytes], files: _Files) -> None:
    """Wait until the daemon has read every log to its end, and end it."""
    deadline = time.monotonic() + END_SECONDS
    store = Store(files.state)
    try:
        while any(status.get("step") != STEPS for status in _statuses(store)):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise _failed(f"a daemon that reads the logs to step {STEPS:,}", daemon, files.home / "daemon.err")
            time.sleep(LOOK_SECONDS)
    finally:
        store.close()
    daemon.send_signal(signal.SIGTERM)
    if daemon.wait(END_SECONDS):
        raise _failed("a daemon that ends without an error", daemon, files.home / "daemon.err")


def _statuses(store: Store) -> list[dict[str, object]]:
    found = store.statuses()
    return [found.get(f"lr-{lr:g}", {}) for lr in START_RATES]


def _failed(expected: str, process: subprocess.Popen[bytes], errors: Path) -> InputError:
    lines = errors.read_text(errors="replace").strip().splitlines()
    ended = "it still runs" if process.poll() is None else f"exit code {process.returncode}"
    return InputError(
        expected=expected, found=lines[-1] if lines else ended, where=str(errors),
        hint="That file holds its standard error.",
    )  # fmt: skip


# ---- results --------------------------------------------------------------------------------------------------------------


def _validation(log: Path, config: Config) -> MetricCurve:
    return next(curve for curve in curves([log], config)[0] if curve.role == "val")


def _ending(lr: float, page: ReportData, files: _Files, config: Config) -> Ending:
    alone, torch, own = (
        float(_validation(files.log(way, lr), config).values[-1]) for way in ("alone", "torch", "runs")
    )
    return Ending(lr, alone, torch, own, tuple(lr_changes(page.events)))


def _write_report(
    endings: Sequence[Ending], pages: Sequence[ReportData], files: _Files, config: Config, report: Path
) -> None:
    """Write the page of the training that gained most, with the same training alone beside it."""
    best = max(range(len(endings)), key=lambda i: endings[i].gain)
    lr = endings[best].lr
    alone = _validation(files.log("alone", lr), config)
    write(
        replace(pages[best], title=f"lrwatch demo: from {lr:g}", compare=(alone,), comparison_label="without lrwatch"),
        report,
    )
