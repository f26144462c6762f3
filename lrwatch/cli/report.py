"""`lrwatch report`: one self-contained page of a run or of a finished log."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lrwatch.cli.completion import run_names_or_files
from lrwatch.cli.output import safe
from lrwatch.cli.settings import config_option, load_config, metric_option, open_store, require_run, state_option

if TYPE_CHECKING:
    from lrwatch.config import Config
    from lrwatch.report import ReportData
    from lrwatch.store import Store


@click.command()
@click.argument("runs_or_files", nargs=-1, required=True, metavar="RUN|FILE...", shell_complete=run_names_or_files)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="F.html",
    help="Where the page goes.  [default: lrwatch-NAME.html, or lrwatch-comparison.html, in the working directory]",
)
@config_option
@metric_option
@state_option
def report(
    runs_or_files: tuple[str, ...],
    output: Path | None,
    config_file: Path | None,
    metric: str | None,
    state: str | None,
) -> int:
    """Write one self-contained HTML page: where the run stands, curve, phases, findings, commands and their effects.

    A file is replayed; a run that the daemon knows is shown with its journal. Several are compared on one page.
    """
    from lrwatch.report import compare, write

    config = load_config(config_file, run__metric=metric, daemon__state=state)
    pages = [_data_of(one, config) for one in runs_or_files]
    if len(pages) == 1:
        data, name = pages[0], runs_or_files[0]
        name = Path(name).name if Path(name).exists() else name
    else:
        data, name = compare(pages, config.detect.direction), "comparison"
    output = output or Path(_page_name(name))
    write(data, output)
    click.echo(safe(f"written to {output}"), err=True)
    return 0


def _data_of(run_or_file: str, config: Config) -> ReportData:
    from lrwatch.offline.report_data import of_file, of_run

    path = Path(run_or_file)
    if path.exists() and not (path.is_dir() and is_run(run_or_file, config)):
        return of_file(path, config)
    store = _store_of(run_or_file, config)
    try:
        return of_run(require_run(store, run_or_file), store, config)
    finally:
        store.close()


def _store_of(run_or_file: str, config: Config) -> Store:
    """Open the state that has this run.

    Raises:
        InputError: There is no such run, and no such file either.
    """
    from lrwatch.errors import InputError

    if not is_run(run_or_file, config) and (os.sep in run_or_file or Path(run_or_file).suffix):
        raise InputError(
            expected="a log file, or the name of a run", found="neither", where=run_or_file,
            hint="Check the path; `lrwatch status` lists the runs of a daemon.",
        )  # fmt: skip
    return open_store(config, run_or_file)


def _page_name(name: str) -> str:
    """Return the name of the page of a run or of a log.

    >>> _page_name("runs/a b"), _page_name("train.log")
    ('lrwatch-runs-a-b.html', 'lrwatch-train.log.html')
    """
    return f"lrwatch-{re.sub(r'[^0-9A-Za-z._-]+', '-', name).strip('-') or 'run'}.html"


def is_run(name: str, config: Config) -> bool:
    """Tell whether a run has this name: a directory of logs lends its name to its run."""
    from lrwatch.errors import InputError

    try:
        store = open_store(config, name)
    except InputError:  # there is no state at all
        return False
    try:
        return name in store.runs()
    finally:
        store.close()
