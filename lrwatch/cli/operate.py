"""`lrwatch set`, `undo`, `strategy`, `decay`, `hold`, `resume`, `approve`, `deny`: operators ask, the daemon answers."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lrwatch.cli.output import format_option, print_json, safe
from lrwatch.cli.settings import config_option, known_run, load_config, open_store, state_directory, state_option
from lrwatch.core.options import STRATEGIES

# The daemon looks at requests at every turn: poll interval and the longest read, with room to spare.
ANSWER_SECONDS = 30.0

# How often the answer is looked for.
_LOOK_SECONDS = 0.05

Command = Callable[..., Any]


def _shared(command: Command) -> Command:
    for option in (format_option, state_option, config_option):
        command = option(command)
    return command


@click.command("set")
@click.argument("run")
@click.option(
    "--scale",
    type=float,
    required=True,
    metavar="X",
    help="Absolute multiplier on the schedule's learning rate; 1 is untouched.",
)
@_shared
def set_scale(run: str, scale: float, config_file: Path | None, state: str | None, form: str) -> int:
    """Ask the trainer of RUN for a scale."""
    return _ask(run, "set", repr(scale), config_file, state, form)


@click.command()
@click.argument("run")
@_shared
def undo(run: str, config_file: Path | None, state: str | None, form: str) -> int:
    """Go back to the scale before the last change."""
    return _ask(run, "undo", "", config_file, state, form)


@click.command()
@click.argument("run")
@click.argument("name", type=click.Choice(STRATEGIES))
@click.option(
    "--every", type=click.IntRange(min=1), metavar="N", help="Steps in which step and exponential reduce by `factor`."
)
@click.option(
    "--length",
    type=click.IntRange(min=1),
    metavar="N",
    help="Steps from here to the end of cosine, wsd and range_test.",
)
@_shared
def strategy(
    run: str, name: str, every: int | None, length: int | None, config_file: Path | None, state: str | None, form: str
) -> int:
    """Let another strategy decide on RUN, from its present step and scale on."""
    argument = json.dumps({"strategy": name, "every": every or 0, "length": length or 0})
    return _ask(run, "strategy", argument, config_file, state, form)


@click.command()
@click.argument("run")
@_shared
def decay(run: str, config_file: Path | None, state: str | None, form: str) -> int:
    """Begin the decay of RUN's strategy wsd now."""
    return _ask(run, "decay", "", config_file, state, form)


@click.command()
@click.argument("run")
@_shared
def hold(run: str, config_file: Path | None, state: str | None, form: str) -> int:
    """Send no more commands to RUN; decisions are journalled all the same."""
    return _ask(run, "hold", "", config_file, state, form)


@click.command()
@click.argument("run")
@_shared
def resume(run: str, config_file: Path | None, state: str | None, form: str) -> int:
    """Send commands to RUN again."""
    return _ask(run, "resume", "", config_file, state, form)


@click.command()
@click.argument("run")
@click.argument("entry_id", metavar="ID", type=int)
@_shared
def approve(run: str, entry_id: int, config_file: Path | None, state: str | None, form: str) -> int:
    """Send the command that was proposed in entry ID of the journal."""
    return _ask(run, "approve", str(entry_id), config_file, state, form)


@click.command()
@click.argument("run")
@click.argument("entry_id", metavar="ID", type=int)
@_shared
def deny(run: str, entry_id: int, config_file: Path | None, state: str | None, form: str) -> int:
    """Turn down the command that was proposed in entry ID of the journal."""
    return _ask(run, "deny", str(entry_id), config_file, state, form)


def _ask(run: str, verb: str, argument: str, config_file: Path | None, state: str | None, form: str) -> int:
    from lrwatch.errors import InputError, RefusedError
    from lrwatch.store import daemon_is_running

    config = load_config(config_file, daemon__state=state)
    directory = state_directory(config)
    store = open_store(config)
    try:
        known_run(store, run)
        if not daemon_is_running(directory):
            raise InputError(
                expected="a daemon that carries it out", found="none", where=str(directory),
                hint="Start `lrwatch run`, then ask again.",
            )  # fmt: skip
        number = store.request(run, getpass.getuser(), verb, argument, time.time())
        deadline = time.monotonic() + ANSWER_SECONDS
        while (answer := store.answer_to(number)) is None:
            if time.monotonic() > deadline:
                raise InputError(
                    expected=f"an answer of the daemon within {ANSWER_SECONDS:.0f} s", found="none", where=f"run {run}",
                    hint="It stays asked; `lrwatch journal` will show what came of it.",
                )  # fmt: skip
            time.sleep(_LOOK_SECONDS)
    finally:
        store.close()
    if not answer["done"]:
        raise RefusedError(
            expected="something that can be done", found=f"that it cannot: {answer['text']}", where=f"{verb} {run}",
            hint="`lrwatch config show` prints the bounds, `lrwatch status` where the run stands.",
        )  # fmt: skip
    if form == "json":
        print_json({"run": run, "verb": verb, **answer})
    else:
        click.echo(safe(f"{run}: {answer['text']}"))
    return 0
