"""`lrwatch backtest`: the daemon's decisions on many finished logs, settings side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrwatch.cli.output import format_option, print_json, print_table, tell
from lrwatch.cli.progress import TaskProgress
from lrwatch.cli.settings import load_config, metric_option

if TYPE_CHECKING:
    from lrwatch.config import Config
    from lrwatch.offline.backtest import ComparedOutcome, Summary

# Name of the built-in defaults where no file was given.
DEFAULTS = "defaults"


# Seconds until a scheduler has to answer: one that is there does so within a few milliseconds.
CONNECT_SECONDS = 5

_file = click.Path(path_type=Path, exists=True, dir_okay=False)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Address and security of a Dask scheduler.

    Attributes:
        address: Its address, or "" where a file says it.
        scheduler_file: The file that says it, or None.
        ca, cert, key: Certificate of the authority, and certificate and key of the client; None for a cluster without TLS.
    """

    address: str = ""
    scheduler_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="GLOB...")
@click.option(
    "--config",
    "config_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="F",
    help="TOML file with settings; several are compared.  [default: the defaults]",
)
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Processes to work in.  [default: one a core]")
@click.option(
    "--dask",
    "scheduler",
    metavar="ADDRESS",
    help="Work on the Dask cluster of this scheduler instead; its workers need lrwatch and the same paths.",
)
@click.option(
    "--scheduler-file", type=_file, metavar="F", help="File in which a Dask scheduler says its address, instead of --dask.",
)  # fmt: skip
@click.option(
    "--tls-ca",
    type=_file,
    metavar="F",
    help="Certificate of who vouches for the cluster; its address is tls://HOST:PORT.",
)
@click.option("--tls-cert", type=_file, metavar="F", help="Certificate of this client.")
@click.option("--tls-key", type=_file, metavar="F", help="Its key.")
@metric_option
@format_option
def backtest(
    paths: tuple[str, ...], config_files: tuple[Path, ...], jobs: int | None, scheduler: str | None, scheduler_file: Path | None,
    tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None, metric: str | None, form: str,
) -> int:  # fmt: skip
    """Show the daemon's findings and commands on many finished logs.

    Every run is replayed under every configuration, with all its logs. Files, directories and patterns ('runs/**', quoted) are taken.
    """
    from concurrent.futures import BrokenExecutor

    from lrwatch.errors import InputError, UsageError
    from lrwatch.offline import backtest as daemon
    from lrwatch.offline.replay import finished_runs

    cluster = _checked(Cluster(scheduler or "", scheduler_file, tls_ca, tls_cert, tls_key))
    if cluster is not None and jobs is not None:
        raise UsageError(
            expected="--jobs or --dask", found="both", where="the command line",
            hint="The cluster has as many workers as it has.",
        )  # fmt: skip
    configs = _configs(config_files, metric)
    logs, problems = finished_runs(paths)
    for problem in problems:
        tell(f"lrwatch: {problem}")
    if not logs:
        raise InputError(
            expected="logs of finished runs", found="none", where=" ".join(paths),
            hint="Give files, directories or quoted patterns such as 'runs/**'.",
        )  # fmt: skip
    try:
        with (
            closing(TaskProgress(f"{len(logs)} logs")) as progress,
            _executor(cluster, jobs or os.cpu_count() or 1, len(logs) * len(configs)) as executor,
        ):
            rows = daemon.backtest(logs, configs, executor, progress.show)
    except BrokenExecutor as error:
        raise InputError(
            expected="workers that live", found=f"one that died: {error}", where="backtest",
            hint="It may have run out of memory: try fewer with --jobs.",
        ) from error  # fmt: skip
    if all(row.outcome.problem for row in rows):
        several = "" if len(logs) == 1 else f"; and {len(logs) - 1} more that cannot be used"
        raise InputError(
            expected="logs of finished runs", found=rows[0].outcome.problem + several, where=rows[0].outcome.log,
            hint="`lrwatch read FILE` shows what is in one; name a metric with --metric.",
        )  # fmt: skip
    totals = daemon.summaries(rows)
    if form == "json":
        for row in rows:
            print_json(daemon.as_json(row))
        for total in totals:
            print_json(daemon.as_json(total))
    else:
        _print(rows, totals)
    return 0


def _configs(files: tuple[Path, ...], metric: str | None) -> dict[str, Config]:
    """Return the settings, by the shortest names that distinguish them."""
    from lrwatch.errors import ConfigError

    if len(set(files)) < len(files):
        double = next(file for i, file in enumerate(files) if file in files[:i])
        raise ConfigError(
            expected="each configuration once", found="one that is given twice", where=str(double),
            hint="Leave one of them out.",
        )  # fmt: skip
    stems = [file.stem for file in files]
    names = stems if len(set(stems)) == len(stems) else [str(file) for file in files]
    loaded = {name: load_config(file, run__metric=metric) for name, file in zip(names, files, strict=True)}
    return loaded or {DEFAULTS: load_config(None, run__metric=metric)}


@contextmanager
def _executor(cluster: Cluster | None, jobs: int, tasks: int) -> Iterator[Executor | None]:
    """Return the executor of the tasks: a cluster, processes, or None for this process."""
    if cluster is not None:
        with _connected(cluster) as executor:
            yield executor
    elif min(jobs, tasks) == 1:
        yield None
    else:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        # Not by fork: numpy has threads.
        pool = ProcessPoolExecutor(min(jobs, tasks), mp_context=multiprocessing.get_context("spawn"))
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def _checked(cluster: Cluster) -> Cluster | None:
    """Return the cluster that the options name, or None where they name none.

    Raises:
        UsageError: They name two, or half of what TLS needs.
    """
    from lrwatch.errors import UsageError

    tls = [cluster.ca, cluster.cert, cluster.key]
    if cluster.address and cluster.scheduler_file:
        raise UsageError(
            expected="--dask or --scheduler-file", found="both", where="the command line", hint="Either says where the scheduler is.",
        )  # fmt: skip
    if any(tls) and not all(tls):
        raise UsageError(
            expected="--tls-ca, --tls-cert and --tls-key together", found="not all of them", where="the command line",
            hint="A Dask cluster with TLS asks its clients for a certificate too.",
        )  # fmt: skip
    if not (cluster.address or cluster.scheduler_file):
        if any(tls):
            raise UsageError(
                expected="a cluster", found="none", where="--tls-ca", hint="Name it with --dask tls://HOST:PORT or --scheduler-file.",
            )  # fmt: skip
        return None
    return cluster


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Executor]:
    from lrwatch.errors import InputError

    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise InputError(
            expected="the package distributed", found="none", where="--dask",
            hint="Install it: pip install 'lrwatch[backtest]'.",
        ) from error  # fmt: skip
    security = None
    if cluster.ca is not None:
        files = {"tls_ca_file": cluster.ca, "tls_client_cert": cluster.cert, "tls_client_key": cluster.key}
        security = distributed.Security(require_encryption=True, **{name: str(file) for name, file in files.items()})
    address = cluster.address if cluster.scheduler_file is None else _address_in(cluster.scheduler_file)
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, security=security)
    except (
        OSError,
        ValueError,
        TypeError,
        MemoryError,
    ) as error:  # the last is another protocol's greeting, read as a length
        raise InputError(
            expected="a Dask scheduler", found=str(error) or type(error).__name__, where=address,
            hint="Give its address as it prints it, tcp://HOST:PORT, or with --tls-ca, --tls-cert and --tls-key tls://HOST:PORT.",
        ) from error  # fmt: skip
    with client:
        if not client.scheduler_info()["workers"]:
            tell(f"lrwatch: the scheduler at {client.scheduler.address} has no workers yet; waiting for them")
        yield client.get_executor()


def _address_in(file: Path) -> str:
    """Return the address that a scheduler wrote.

    Raises:
        InputError: The file does not say one.
    """
    from lrwatch.errors import InputError

    try:
        address = json.loads(file.read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, KeyError, TypeError):
        address = None
    if not isinstance(address, str):
        raise InputError(
            expected="the address of a Dask scheduler", found="something else", where=str(file),
            hint="Start one with `dask scheduler --scheduler-file F`.",
        )  # fmt: skip
    return address


def _print(rows: list[ComparedOutcome], totals: list[Summary]) -> None:
    several = len(totals) > 1
    compared = ["config", "delay"] if several else []
    numbers = range(2, 6) if several else range(1, 5)
    here = os.path.commonpath([os.path.dirname(row.outcome.log) for row in rows])  # noqa: PTH120
    table = []
    for row in rows:
        outcome = row.outcome
        table.append([
            os.path.relpath(outcome.log, here), *([outcome.config] if several else []), outcome.step,
            *([row.delay] if several else []), outcome.plateau, outcome.commands or None, outcome.command,
            outcome.problem or _counted(outcome.reports),
        ])  # fmt: skip
    print_table(
        [f"log in {here}", *compared[:1], "steps", *compared[1:], "plateau at", "commands", "first at", "reports"],
        table, right=numbers,
    )  # fmt: skip
    click.echo()
    print_table(
        ["config", "logs", "with a plateau", "first at", "median delay", "commands a run", "reports"],
        [
            [
                total.config,
                f"{total.logs}" + (f" ({total.unread} unread)" if total.unread else ""),
                total.with_plateau,
                "" if total.first_plateau is None else f"{100 * total.first_plateau:.0f} % of the run",
                total.delay,
                f"{total.commands:.2f}",
                _counted(total.reports),
            ]
            for total in totals
        ],
        right=[2, 3, 4, 5],
    )


def _counted(reports: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in reports.items()) or "nothing"
