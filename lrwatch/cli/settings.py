"""Options that several commands share, and the settings and the store that follow from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lrwatch.config import Config
    from lrwatch.store import Store

config_option = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="F", help="TOML file with settings."
)
state_option = click.option(
    "--state", metavar="DIR", help="State directory.  [default: $XDG_STATE_HOME/lrwatch or ~/.local/state/lrwatch]"
)
metric_option = click.option(
    "--metric", metavar="NAME", help="The metric that decides, as [run] metric.  [default: a training loss, by name]"
)


def load_config(config_file: Path | None, **flags: Any) -> Config:
    """Return the effective settings.

    Args:
        config_file: The TOML file, or None.
        flags: Values of the command line as `section__key=value`; None where the flag was not given.
    """
    from lrwatch.config import load

    return load(config_file, os.environ, {name.replace("__", "."): value for name, value in flags.items()})


def state_directory(config: Config) -> Path:
    """Return the directory of the daemon's state."""
    from lrwatch.store import default_directory

    return Path(config.daemon.state) if config.daemon.state else default_directory(os.environ)


def open_store(config: Config) -> Store:
    """Open the state of a daemon that runs or ran.

    Raises:
        InputError: There is none.
    """
    from lrwatch.errors import InputError
    from lrwatch.store import Store

    directory = state_directory(config)
    if not (directory / "lrwatch.sqlite").exists():
        raise InputError(
            expected="the state of a daemon", found="nothing", where=str(directory),
            hint="Start `lrwatch run PATH` first, or name its state directory with --state.",
        )  # fmt: skip
    return Store(directory)


def require_run(store: Store, run: str) -> str:
    """Return `run` if the store has a run of that name.

    Raises:
        InputError: It has none.
    """
    from lrwatch.errors import InputError

    runs = store.runs()
    if run not in runs:
        raise InputError(
            expected="the name of a run", found=repr(run), where=str(store.path),
            hint=f"Known are {', '.join(runs)}." if runs else "No run is known yet: start `lrwatch run PATH`.",
        )  # fmt: skip
    return run
