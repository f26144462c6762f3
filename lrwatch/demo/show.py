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
from contextlib import nullcontext
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

# Bytes at the end of a log that hold its last step.
END_BYTES = 200

# The directories of the trainings. The daemon watches those of the first, and knows nothing of the others.
WITH, ALONE, TORCH = WAYS = ("with-lrwatch", "alone", "torch")

_NAMES = tuple(f"lr-{lr:g}" for lr in START_RATES)
_STEPS = re.compile(rb"^step=(\d+) ", re.MULTILINE)


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
    (files.home / WITH).mkdir()
    files.settings.write_text(SETTINGS.format(folder=files.home / WITH), encoding="utf-8")
    _say(
        f"The same small network is trained nine times, {STEPS:,} steps each, for about {_about(seconds)} seconds: from three start "
        "rates,\nalone, with torch's ReduceLROnPlateau at its defaults, and with lrwatch beside it. All of it is real."
    )
    with contextlib.ExitStack() as children:
        daemon = children.enter_context(_daemon(files, listen, insecure=insecure))
        _say(f"Watch it live: {_address(daemon)}")
        trainings = [children.enter_context(each) for each in _trainings(files, seed, STEPS / seconds)]
        _wait(trainings, daemon, files)
        _end(daemon, files)
    config = load(files.settings)
    with contextlib.closing(Store(files.state)) as store:
        pages = [of_run(name, store, config) for name in _NAMES]
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
    yield f"logs     {files.home / WITH}"
    yield f"config   {files.settings}"
    yield f"journal  lrwatch journal --state {files.state}"


# ---- processes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Child:
    """A process of the demo.

    Attributes:
        process: The process.
        errors: The file with its standard error.
        what: What it is to do, in words.
    """

    process: subprocess.Popen[bytes]
    errors: Path
    what: str

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet.

        Raises:
            InputError: It ended with an error.
        """
        code = self.process.poll()
        if code:
            raise self.failed(f"exit code {code}")
        return code is None

    def failed(self, how: str) -> InputError:
        """Return the error that it did not do what it is for."""
        lines = self.errors.read_text(errors="replace").strip().splitlines()
        return InputError(
            expected=self.what, found=f"{how}: {lines[-1]}" if lines else how, where=str(self.errors),
            hint="That file holds its standard error.",
        )  # fmt: skip


@contextlib.contextmanager
def _child(command: Sequence[str], errors: Path, what: str) -> Iterator[_Child]:
    """Run a module of lrwatch in a process that does not outlive the block."""
    # One thread each: the matrices are too small to share.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stderr=stderr, stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        yield _Child(process, errors, what)
    finally:
        process.kill()
        process.wait()


def _daemon(files: _Files, listen: str, *, insecure: bool) -> contextlib.AbstractContextManager[_Child]:
    command = ["lrwatch", "run", "--config", str(files.settings), "--state", str(files.state), "--listen", listen]
    return _child(
        [*command, *(["--insecure-listen"] if insecure else [])], files.home / "daemon.err", "a daemon that watches"
    )


def _trainings(files: _Files, seed: int, pace: float) -> Iterator[contextlib.AbstractContextManager[_Child]]:
    """Yield the processes: one for each training with lrwatch, and one for all others."""
    common = ["lrwatch.demo.trainer", f"--steps={STEPS}", f"--seed={seed}", f"--pace={pace}"]
    others = list(common)
    for lr in START_RATES:
        logs = {way: files.log(way, lr) for way in WAYS}
        for log in logs.values():
            log.parent.mkdir(parents=True)
        own = [f"--lr={lr}", f"--log={logs[WITH]}", f"--control={logs[WITH].parent / 'lrwatch'}"]
        yield _child([*common, *own], files.home / f"lr-{lr:g}.err", "a training that ends without an error")
        others += [f"--lr={lr}", f"--log={logs[ALONE]}", f"--torch-log={logs[TORCH]}"]
    yield _child(others, files.home / "without.err", "trainings that end without an error")


def _address(daemon: _Child) -> str:
    """Wait for the address that the daemon prints first, and return it.

    Raises:
        InputError: It does not say one in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and daemon.runs:
        found = re.search(r"^listening on (\S+)$", daemon.errors.read_text(errors="replace"), re.MULTILINE)
        if found:
            return found[1]
        time.sleep(LOOK_SECONDS)
    raise daemon.failed(f"no address within {START_SECONDS:g} s")


def _wait(trainings: Sequence[_Child], daemon: _Child, files: _Files) -> None:
    """Show a bar until all trainings have ended; lines where there is no terminal."""
    logs = [files.log(way, lr) for way in (WITH, ALONE) for lr in START_RATES]
    is_terminal = sys.stderr.isatty()
    said_at = time.monotonic()
    with click.progressbar(length=STEPS, label="training", file=sys.stderr) if is_terminal else nullcontext() as bar:
        while sum(training.runs for training in trainings):
            step = min(_last_step(log) for log in logs)
            if bar is not None:
                bar.update(step - bar.pos)
            elif time.monotonic() - said_at >= LINE_SECONDS:
                said_at = time.monotonic()
                _say(f"training: step {step:,} of {STEPS:,}")
            if not daemon.runs:
                raise daemon.failed("it ended early")
            time.sleep(LOOK_SECONDS)
        if bar is not None:
            bar.update(STEPS - bar.pos)


def _last_step(log: Path) -> int:
    """Return the last step of a log; 0 before there is one."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - END_BYTES))
            found = _STEPS.findall(file.read())
    except FileNotFoundError:
        return 0
    return int(found[-1]) if found else 0


def _end(daemon: _Child, files: _Files) -> None:
    """Wait until the daemon has read every log to its end, and end it.

    Raises:
        InputError: It does not get there in time.
    """
    deadline = time.monotonic() + END_SECONDS
    with contextlib.closing(Store(files.state)) as store:
        while daemon.runs and any(store.statuses().get(name, {}).get("step") != STEPS for name in _NAMES):
            if time.monotonic() > deadline:
                raise daemon.failed(f"the logs are not read to step {STEPS:,} within {END_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.wait(END_SECONDS)


# ---- results --------------------------------------------------------------------------------------------------------------


def _validation(log: Path, config: Config) -> MetricCurve:
    return next(curve for curve in curves([log], config)[0] if curve.role == "val")


def _ending(lr: float, page: ReportData, files: _Files, config: Config) -> Ending:
    alone, torch, own = (float(_validation(files.log(way, lr), config).values[-1]) for way in (ALONE, TORCH, WITH))
    return Ending(lr, alone, torch, own, tuple(lr_changes(page.events)))


def _write_report(
    endings: Sequence[Ending], pages: Sequence[ReportData], files: _Files, config: Config, report: Path
) -> None:
    """Write the page of the training that gained most, with the same training alone beside it."""
    best = min(range(len(endings)), key=lambda i: endings[i].ratio)
    lr = endings[best].lr
    alone = _validation(files.log(ALONE, lr), config)
    write(
        replace(pages[best], title=f"lrwatch demo: from {lr:g}", compare=(alone,), comparison_label="without lrwatch"),
        report,
    )
