"""`lrwatch run`: the daemon."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lrwatch.cli.output import Choice, event_line, format_option, give_up_output, print_json, tell
from lrwatch.cli.progress import ByteProgress
from lrwatch.cli.rank import rank_of
from lrwatch.cli.settings import config_option, load_config, metric_option, state_directory, state_option
from lrwatch.core.options import MODES

if TYPE_CHECKING:
    from lrwatch.config import Config
    from lrwatch.core.curve import Curve
    from lrwatch.core.snapshot import Snapshot
    from lrwatch.daemon.loop import Daemon
    from lrwatch.export.exporter import Exporter
    from lrwatch.notify.notifier import Notifier
    from lrwatch.store import Entry, Store

# What has problems beside runs and paths.
_OF_ALL = ("state", "textfile", "journal")

# What is said at the end of a problem that begins so; of all others, that the run can be read again.
_ENDS = {
    "cannot claim": "can be commanded now",
    "cannot write": "can be commanded now",
    "another daemon": "is commanded by this daemon again",
}

# Objects that are made before the collector looks among the newest, and looks before it looks further; Python's are 700, 10 and 10.
GC_THRESHOLD = (10_000, 20, 50)

# Runs that a sentence about several names.
_NAMED = 3


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@config_option
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Where the pages and /metrics are served; port 0 takes a free one.  [default: 127.0.0.1:9767]",
)
@click.option(
    "--web-config", metavar="FILE", help="TLS and passwords of the listener, in the form of Prometheus' exporters."
)
@click.option(
    "--insecure-listen", is_flag=True, default=None, help="Let other machines read without TLS and passwords.",
)  # fmt: skip
@click.option(
    "--mode",
    type=Choice(MODES),
    help="What is done about a plateau.  [default: suggest]",
)
@metric_option
@click.option("--control", metavar="DIR", help="Control directory of the run.  [default: lrwatch beside its logs]")
@state_option
@click.option("--poll-seconds", type=float, metavar="S", help="Longest time between two looks.  [default: 1]")
@click.option(
    "--textfile", metavar="DIR", help="Write the series of the runs to DIR/lrwatch.prom too, for node_exporter."
)
@click.option(
    "--once", is_flag=True, help="Read what is there and end. A last line without an end is left for the next time."
)
@click.option(
    "--only-rank",
    type=click.IntRange(min=0),
    metavar="N",
    help="Watch only where the job has this rank (JOB_COMPLETION_INDEX, RANK, SLURM_PROCID); elsewhere serve, and watch nothing.",
)
@format_option
def run(
    paths: tuple[str, ...], config_file: Path | None, listen: str | None, web_config: str | None,
    insecure_listen: bool | None, mode: str | None, metric: str | None, control: str | None, state: str | None,
    poll_seconds: float | None, textfile: str | None, once: bool, only_rank: int | None, form: str,
) -> int:  # fmt: skip
    """Watch log files, directories or globs, and act on them.

    A file is a run of its own; a directory with logs is one run; a directory of such directories is one run each.
    Findings and commands are printed as they come. The address that is printed first has all runs at /, one run at /runs/NAME and
    /metrics for Prometheus.
    """
    from lrwatch.daemon.labels import labelled
    from lrwatch.daemon.loop import Daemon
    from lrwatch.errors import UsageError
    from lrwatch.store import Store

    def load() -> Config:
        config = load_config(
            config_file, watch__paths=paths, run__metric=metric, watch__control=control, policy__mode=mode,
            daemon__listen=listen, daemon__state=state, daemon__poll_seconds=poll_seconds,
            export__textfile=textfile, export__web_config=web_config, export__insecure_listen=insecure_listen,
        )  # fmt: skip
        if not config.watch.paths:
            raise UsageError(
                expected="at least one file, directory or glob", found="none", where="lrwatch run",
                hint="Try `lrwatch run train.log`, or set [watch] paths in a file given with --config.",
            )  # fmt: skip
        if only_rank is not None and rank != only_rank:
            config = replace(config, watch=replace(config.watch, paths=(), control=""))
        return labelled(config, os.environ)

    rank, said_by = rank_of(os.environ)
    config = load()
    if not config.watch.paths:
        tell(f"lrwatch: nothing is watched here: {said_by} is {rank}, and only rank {only_rank} watches")
        if once:
            return 0

    def print_entry(entry: Entry) -> None:
        if entry.event["event"] == "settings":  # they say nothing new to who has just given them
            return
        try:
            if form == "json":
                print_json(entry.as_json())
            else:
                click.echo(event_line(entry.as_json()))
            sys.stdout.flush()
        except (
            OSError
        ) as error:  # neither a full disk nor a reader that went away is a reason to leave a training alone
            give_up_output()
            tell(f"lrwatch: events are only journalled from here on, standard output failed: {error}")

    listeners: list[Callable[[Entry], None]] = [print_entry]

    def hear(entry: Entry) -> None:
        for listener in listeners:
            listener(entry)

    store = Store(state_directory(config), exclusive=True)
    try:
        daemon = Daemon(config, store, hear)
        try:
            if once:
                return _read_once(daemon, config)
            _serve(daemon, config, load, store, listeners)
        finally:
            daemon.close()
    finally:
        store.close()
    return 0


def _read_once(daemon: Daemon, config: Config) -> int:
    """Read what is there, without waiting. That no run can be read is an error here."""
    from lrwatch.errors import InputError
    from lrwatch.export.textfile import Textfile

    daemon.discover()
    with closing(ByteProgress("reading")) as progress:
        daemon.read_all(after_turn=lambda: _show(progress, daemon.snapshot()))
        while daemon.wait_for_input():
            daemon.read_all(after_turn=lambda: _show(progress, daemon.snapshot()))
    problems = daemon.problems
    if config.export.textfile:
        textfile = Textfile(config.export.textfile, max_series=config.export.max_series)
        textfile.publish(daemon.snapshot())
        problems += [textfile.problem] if textfile.problem else []
    _tell_problems(problems, daemon.snapshot(), {})
    return 0 if any(not run.problem for run in daemon.runs.values()) else InputError.exit_code


def _show(progress: ByteProgress, snapshot: Snapshot) -> None:
    progress.show(sum(run.bytes for run in snapshot.runs), sum(run.lag_bytes for run in snapshot.runs))


def _notifier(daemon: Daemon, config: Config, store: Store, exporter: Exporter) -> Notifier | None:
    """Return what tells people, or None where nobody is to be told."""
    if not config.notify.is_used:
        return None
    from lrwatch.notify.channels import channels_of
    from lrwatch.notify.notifier import Notifier

    channels = channels_of(config.notify)
    with_pictures = any(channel.takes_pictures for channel in channels)

    def count(failed: bool) -> None:
        exporter.notifications.inc()
        if failed:
            exporter.notifications_failed.inc()

    def curve(name: str) -> tuple[str, Curve] | None:
        run = daemon.runs.get(name) if with_pictures else None
        return None if run is None or run.outlook.metric is None else (run.outlook.metric, run.outlook.curve)

    return Notifier(
        channels,
        config.notify,
        count=count,
        tell=lambda line: tell(f"lrwatch: {line}"),
        known=store.statuses(),
        curve=curve,
        kept=state_directory(config) / "notified",
    )


def _serve(
    daemon: Daemon, config: Config, load: Callable[[], Config], store: Store, listeners: list[Callable[[Entry], None]]
) -> None:
    from lrwatch.cli.reload import Reload
    from lrwatch.daemon.operator_socket import OperatorSocket
    from lrwatch.daemon.run_page import RunPages
    from lrwatch.daemon.supervisor import Supervisor
    from lrwatch.daemon.wake import Waker
    from lrwatch.export.exporter import Exporter
    from lrwatch.export.textfile import Textfile

    # The loop leaves hardly a cycle, and with a thousand runs each search for some goes through a million objects.
    gc.set_threshold(*GC_THRESHOLD)
    export = config.export
    supervisor = Supervisor(os.environ)
    exporter = Exporter(
        config.daemon.listen,
        max_series=export.max_series,
        web_config=Path(export.web_config) if export.web_config else None,
        insecure=export.insecure_listen,
        hosts=export.hosts,
    )
    notifier = _notifier(daemon, config, store, exporter)
    if notifier is not None:
        listeners.append(lambda entry: notifier.hear(entry.as_json()))
    textfile = None
    if export.textfile:
        textfile = Textfile(export.textfile, max_series=export.max_series)
    waker = Waker(min(config.daemon.poll_seconds, supervisor.interval))
    operators: OperatorSocket | None = None
    interrupted = False

    def stop(number: int, _: object) -> None:
        nonlocal interrupted
        interrupted = number == signal.SIGINT
        waker.stop()

    def use(config: Config) -> None:
        waker.poll_seconds = min(config.daemon.poll_seconds, supervisor.interval)
        if operators is not None:
            operators.options = config.operators

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    reload = Reload(config, load, apply=use, wake=waker.wake, hung_up=waker.stop)
    reload.listen()
    reported: dict[str, str] = {}
    progress = ByteProgress("reading")

    class _ProcessSink:
        """The exporter, the textfile, the supervisor, and standard error for problems as they come and go and for progress."""

        def publish(self, snapshot: Snapshot) -> None:
            exporter.publish(snapshot)
            if notifier is not None:
                notifier.look(snapshot)
            problems = daemon.problems
            if textfile is not None:
                textfile.publish(snapshot)
                problems += [textfile.problem] if textfile.problem else []
            _tell_problems(problems, snapshot, reported)
            _show(progress, snapshot)
            supervisor.turned(f"runs watched: {len(snapshot.runs)}")
            if reload.asked:
                supervisor.reloading()
                reload.now(daemon)

        def observe_loop(self, seconds: float) -> None:
            exporter.observe_loop(seconds)

    try:
        exporter.start()
        tell(f"listening on {exporter.url}")
        if supervisor.problem:
            tell(f"lrwatch: {supervisor.problem}")
        if notifier is not None:
            notifier.start(lambda after: (entry.as_json() for entry in store.journal(after=after)), time.time())
        operators = OperatorSocket(
            state_directory(config), config.operators, daemon.inbox,
            runs=lambda: list(daemon.runs), wake=waker.wake, environ=os.environ,
        )  # fmt: skip
        if operators.problem:
            tell(f"lrwatch: {operators.problem}")
        exporter.run_page = RunPages(lambda: daemon.runs, state_directory(config))
        daemon.run(waker, _ProcessSink())
    finally:
        supervisor.stopping()
        supervisor.close()
        progress.close()
        if operators is not None:
            operators.close()
        waker.close()
        if notifier is not None:
            notifier.close()
        exporter.close()
        if textfile is not None:
            textfile.close()
    if interrupted:
        raise KeyboardInterrupt


def _tell_problems(of_all: Sequence[str], snapshot: Snapshot, reported: dict[str, str]) -> None:
    """Print each problem once, however many runs have it, and its end once; `reported` holds those that were printed."""
    problems = {problem.split(":")[0]: problem for problem in of_all}
    news = [problem for name, problem in problems.items() if reported.get(name) != problem]
    of_runs: dict[str, list[str]] = {}
    for run in snapshot.runs:
        if run.problem and run.problem != snapshot.problem:  # else it is that of all
            problems[run.name] = run.problem
            if reported.get(run.name) != run.problem:
                of_runs.setdefault(run.problem, []).append(run.name)
    for problem in news + [f"{_called(names)}: {problem}" for problem, names in of_runs.items()]:
        tell(f"lrwatch: {problem}")
    over = sorted(reported.keys() - problems.keys())
    for name in [name for name in over if name in _OF_ALL]:
        tell(f"lrwatch: {name}: it works again")
    ends: dict[str, list[str]] = {}
    for name in [name for name in over if name not in _OF_ALL]:
        said = next((end for begin, end in _ENDS.items() if reported[name].startswith(begin)), "can be read now")
        ends.setdefault(said, []).append(name)
    for said, names in ends.items():
        tell(f"lrwatch: {_called(names)}: {said}")
    reported.clear()
    reported.update(problems)


def _called(runs: Sequence[str]) -> str:
    """Return what some runs are called in a sentence."""
    if len(runs) == 1:
        return f"run {runs[0]}"
    rest = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return f"runs {', '.join(runs[:_NAMED])}{rest}"
