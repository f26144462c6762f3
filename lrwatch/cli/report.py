"""`lrwatch report`: one self-contained page of a run or of a finished log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lrwatch.cli.output import safe
from lrwatch.cli.settings import config_option, load_config, metric_option, open_store, require_run, state_option

if TYPE_CHECKING:
    from lrwatch.config import Config


@click.command()
@click.argument("run_or_file", metavar="RUN|FILE")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="F.html", help="Where the page goes."
)
@config_option
@metric_option
@state_option
def report(run_or_file: str, output: Path, config_file: Path | None, metric: str | None, state: str | None) -> int:
    """Write one self-contained HTML page: curve, phases, findings, commands and their effects.

    A file is replayed; a run that the daemon knows is shown with its journal.
    """
    from lrwatch.offline.report_data import of_file, of_run
    from lrwatch.report import write

    config = load_config(config_file, run__metric=metric, daemon__state=state)
    path = Path(run_or_file)
    if path.exists() and not (path.is_dir() and is_run(run_or_file, config)):
        data = of_file(path, config)
    else:
        store = open_store(config)
        try:
            data = of_run(require_run(store, run_or_file), store, config)
        finally:
            store.close()
    write(data, output)
    click.echo(safe(f"written to {output}"), err=True)
    return 0


def is_run(name: str, config: Config) -> bool:
    """Tell whether a run has this name: a directory of logs lends its name to its run."""
    from lrwatch.errors import InputError

    try:
        store = open_store(config)
    except InputError:  # there is no state at all
        return False
    try:
        return name in store.runs()
    finally:
        store.close()
