"""`lrwatch doctor`: why nothing happens, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lrwatch.cli.completion import run_names_or_files
from lrwatch.cli.output import format_option, print_json, safe
from lrwatch.cli.settings import config_option, load_config, open_store, state_option, states

if TYPE_CHECKING:
    from lrwatch.config import Config
    from lrwatch.offline.examination import Cause


@click.command()
@click.argument("run_or_path", metavar="[RUN|PATH]", required=False, shell_complete=run_names_or_files)
@config_option
@state_option
@format_option
def doctor(run_or_path: str | None, config_file: Path | None, state: str | None, form: str) -> int:
    """Tell why nothing happens in a run, one line a cause, and what to do.

    RUN is one that a daemon watches or watched; PATH a log or a directory that need not be watched. Without either, all runs.
    """
    config = load_config(config_file, daemon__state=state)
    for cause in _causes(run_or_path, config):
        if form == "json":
            print_json(cause.as_json())
        else:
            click.echo(safe(f"{cause.run}: {cause.cause.replace('_', ' ')}: {cause.text}. {cause.remedy}"))
    return 0


def _causes(run_or_path: str | None, config: Config) -> list[Cause]:
    from lrwatch.errors import InputError
    from lrwatch.offline.doctor import of_path, of_run, require_path, watched_run_of
    from lrwatch.store import Store, daemon_is_running

    if run_or_path is not None and Path(run_or_path).exists():
        for state in states(config):
            store = Store(state)
            try:
                if (name := watched_run_of(Path(run_or_path), store)) is not None:
                    return of_run(name, store, config, daemon=daemon_is_running(state))
            finally:
                store.close()
    try:
        store = open_store(config, run_or_path)
    except InputError as error:
        # Without a state the path is all that there is; with several, one of them has to be named.
        if run_or_path is None or (error.found != "nothing" and not Path(run_or_path).exists()):
            raise
        return of_path(require_path(run_or_path), config)
    try:
        names = store.runs()
        if run_or_path is not None and run_or_path not in names:
            return of_path(require_path(run_or_path), config)
        if not names:
            raise InputError(
                expected="a run", found="none", where=str(store.path), hint="Start `lrwatch run PATH`, or try `lrwatch doctor PATH`.",
            )  # fmt: skip
        running = daemon_is_running(store.path.parent)
        return [
            cause
            for name in names
            if run_or_path in (None, name)
            for cause in of_run(name, store, config, daemon=running)
        ]
    finally:
        store.close()
