"""Run of the demo: two trainings, the daemon beside one of them, and the comparison of their results."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click

from lrwatch.config import load
from lrwatch.core.events import effect_in_words
from lrwatch.core.snapshot import Snapshot
from lrwatch.daemon.loop import Daemon
from lrwatch.daemon.run_page import RunPages
from lrwatch.daemon.wake import Waker
from lrwatch.demo.sweep import LR, STEPS
from lrwatch.errors import InputError
from lrwatch.export.exporter import Exporter
from lrwatch.offline.report_data import curves, of_run
from lrwatch.report import MetricCurve, write
from lrwatch.report.model.timeline import LrChange, lr_changes
from lrwatch.store import Entry, Store

SETTINGS = """\
[detect]
# An improvement below this per tenth of the run is a plateau. The default of 0.005 suits runs that are long enough to
# tell so little from noise; three thousand noisy values are too few. Commands follow the policy's defaults.
min_improvement = 0.02

[policy]
mode = "auto"
"""

# The demo polls more often than a daemon on a real run, whose steps are slower.
POLL_SECONDS = 0.05

# Why a change of a cause has no effect of its own.
_UNMEASURED = {
    "restore": "it takes a change back",
    "anneal": "it lasts to the end of the run, and the final loss shows it",
}

# Seconds within which a trainer must end after its last step.
END_SECONDS = 30.0


def run_demo(seconds: float, listen: str, report: Path | None, *, insecure: bool = False) -> int:
    """Run the demo and print its results.

    Args:
        seconds: Duration of the trainings. The number of steps is fixed, because the learning rate was swept for it.
        listen: Address of `/metrics`, HOST:PORT.
        report: File for the report; a temporary file unless given.
        insecure: Whether other machines may read.

    Returns:
        The exit code: 1 if the run was not improved or a command was not acknowledged.
    """
    steps, pace = STEPS, STEPS / seconds
    home = Path(tempfile.mkdtemp(prefix="lrwatch-demo-"))
    exporter = Exporter(listen, insecure=insecure)
    exporter.start()
    click.echo(f"listening on {exporter.url}", err=True)
    click.echo(
        f"two trainings of {steps} steps at a learning rate of {LR:g}, the best constant one; lrwatch runs beside one of them",
        err=True,
    )
    log, plain_log = home / "train.log", home / "without.log"
    control = home / "lrwatch"
    settings = home / "lrwatch.toml"
    settings.write_text(SETTINGS)
    own = {"watch.paths": (str(log),), "watch.control": str(control), "daemon.poll_seconds": POLL_SECONDS}
    config = load(settings, flags=own)
    entries: list[Entry] = []
    store = Store(home / "state", exclusive=True)
    daemon = Daemon(config, store, entries.append)
    exporter.run_page = RunPages(lambda: daemon.runs, home / "state")
    trainers = [
        _start(log, steps, pace, home / "train.err", control),
        _start(plain_log, steps, pace, home / "without.err", None),
    ]
    try:
        _watch(daemon, exporter, trainers, steps)
        _check(trainers, home)
        daemon.read_all()  # the last lines of the trainers
        exporter.publish(daemon.snapshot())
        name = next(iter(daemon.runs))
        data = of_run(name, store, config)
    finally:
        for trainer in trainers:
            trainer.kill()
            trainer.wait()
        daemon.close()
        exporter.close()
    report = report or home / "report.html"
    without = tuple(replace(curve, name=curve.name) for curve in curves([plain_log], config)[0] if curve.role == "val")
    write(replace(data, title="lrwatch demo", compare=without, comparison_label="without lrwatch"), report)
    code = _print(entries, _final(data.curves), _final(without))
    click.echo(
        f"\nlog      {log}\nconfig   {settings}\njournal  lrwatch journal --state {home / 'state'}\nreport   {report}"
    )
    store.close()
    return code


def _start(log: Path, steps: int, pace: float, errors: Path, control: Path | None) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "lrwatch.demo.trainer",
        f"--steps={steps}",
        f"--lr={LR}",
        f"--pace={pace}",
        f"--log={log}",
    ]
    if control is not None:
        command.append(f"--control={control}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # one core each
    with errors.open("wb") as stderr:
        return subprocess.Popen(command, env=environment, stderr=stderr, stdin=subprocess.DEVNULL)


def _watch(daemon: Daemon, exporter: Exporter, trainers: Iterable[subprocess.Popen[bytes]], steps: int) -> None:
    """Run the daemon until the trainers end, with a progress bar."""
    waker = Waker(POLL_SECONDS)

    def wait_for_the_end() -> None:
        for trainer in trainers:
            trainer.wait()
        waker.stop()

    ended = threading.Thread(target=wait_for_the_end)
    with click.progressbar(length=steps, label="training", file=sys.stderr) as bar:

        class Sink:
            """Passes snapshots to the exporter and the progress bar."""

            def publish(self, snapshot: Snapshot) -> None:
                exporter.publish(snapshot)
                bar.update(max((run.step or 0 for run in snapshot.runs), default=0) - bar.pos)

            def observe_loop(self, seconds: float) -> None:
                exporter.observe_loop(seconds)

        ended.start()
        try:
            daemon.run(waker, Sink())
        finally:
            waker.close()


def _check(trainers: Iterable[subprocess.Popen[bytes]], home: Path) -> None:
    for trainer in trainers:
        if trainer.wait(END_SECONDS) != 0:
            errors = "".join(file.read_text(errors="replace") for file in home.glob("*.err")).strip()
            raise InputError(
                expected="two trainings that end without an error",
                found=errors.splitlines()[-1] if errors else f"exit code {trainer.returncode}",
                where=str(home), hint="The .err files there hold the standard error of the trainers.",
            )  # fmt: skip


def _final(found: Iterable[MetricCurve]) -> float:
    return next(float(curve.values[-1]) for curve in found if curve.role == "val")


def _print(entries: Iterable[Entry], with_lrwatch: float, without: float) -> int:
    changes = lr_changes(entry.event for entry in entries)
    unanswered = sum(change.answer != "acknowledged" for change in changes)
    better = (without - with_lrwatch) / without
    click.echo(f"\n{'final validation loss':24}{'without lrwatch':>18}{'with lrwatch':>16}")
    click.echo(
        f"{'':24}{without:>18.5f}{with_lrwatch:>16.5f}   {100 * abs(better):.1f} % {'lower' if better > 0 else 'higher'}"
    )
    for change in changes:
        click.echo(f"\nstep {change.step}: scale {change.scale:g}, {answer_in_words(change)}")
        click.echo(f"  reason  {change.reason}")
        click.echo(f"  effect  {effect_of(change)}")
    if not changes:
        click.echo("\nthe learning rate was not changed")
    if unanswered:
        click.echo(f"\n{unanswered} of {len(changes)} commands were not acknowledged")
    return 1 if unanswered or better <= 0 else 0


def answer_in_words(change: LrChange) -> str:
    """Return the trainer's answer to a command in words."""
    match change.answer:
        case "acknowledged":
            return f"acknowledged at step {change.answer_step}"
        case "rejected":
            return f"rejected: {change.code}"
        case _:
            return "not acknowledged"


def effect_of(change: LrChange) -> str:
    """Return in words whether a command helped, with the two levels that show it."""
    effect = change.effect
    if effect is None:
        return f"not measured: {_UNMEASURED.get(change.cause, 'too few samples followed it')}"
    words, line = effect_in_words(effect.gain, effect.lower, effect.upper), effect.line
    if line is None or effect.step is None:
        return words
    return (
        f"{words}; {line.came:.4g} after {effect.step - line.since} steps, where continuing would have given "
        f"{line.expected:.4g}"
    )
