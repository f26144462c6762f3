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


def has_state(config: Config) -> bool:
    """Return whether the state directory holds the state of a daemon that this user may see."""
    try:
        return (state_directory(config) / "lrwatch.sqlite").exists()
    except PermissionError:
        return False


def _may_look(directory: Path) -> bool:
    """Return whether this user sees what is in a directory: one that nobody may look into is not empty."""
    try:
        (directory / "lrwatch.sqlite").lstat()
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def open_store(config: Config, run: str | None = None) -> Store:
    """Open the state of a daemon that runs or ran: of the settings, or else of the daemon that watches `run`, or of the only one.

    Args:
        config: The settings.
        run: The run to show, or None for all.

    Raises:
        InputError: There is none, or there are several.
    """
    from lrwatch.errors import InputError
    from lrwatch.store import Store

    directory = state_directory(config)
    if has_state(config):
        store = Store(directory)
        if config.daemon.state or run is None or run in store.runs():
            return store
        if not (elsewhere := _states_elsewhere(config, run)):
            return store
        store.close()
    else:
        elsewhere = _states_elsewhere(config, run)
    if len(elsewhere) == 1:
        return Store(elsewhere[0])
    if elsewhere:
        raise InputError(
            expected="one daemon", found=f"{len(elsewhere)}", where="this machine",
            hint=f"Name the state directory of one with --state: {', '.join(map(str, elsewhere))}.",
        )  # fmt: skip
    if not _may_look(directory):
        raise InputError(
            expected="a state directory that this user may read", found="that it may not", where=str(directory),
            hint="Ask as the user of the daemon or as root, or name another directory with --state.",
        )  # fmt: skip
    raise InputError(
        expected="the state of a daemon", found="nothing", where=str(directory),
        hint="Start `lrwatch run PATH` first, or name its state directory with --state.",
    )  # fmt: skip


def states(config: Config) -> list[Path]:
    """Return the state directories that this user may read: that of the settings, and those of the daemons on this machine."""
    own = [state_directory(config)] if has_state(config) else []
    return [*own, *_states_elsewhere(config, None)]


def _states_elsewhere(config: Config, run: str | None) -> list[Path]:
    """Return the state directories of the daemons on this machine that watch `run` and that this user may read."""
    from lrwatch.cli.ask import daemons

    _, others = daemons(config)
    states = [Path(greeting["state"]) for _, greeting in others if run is None or run in greeting["runs"]]
    return [state for state in states if os.access(state / "lrwatch.sqlite", os.R_OK | os.W_OK)]


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
