"""`lrwatch set`, `undo`, `strategy`, `decay`, `hold`, `resume`, `extend`, `approve`, `deny`: requests to the daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lrwatch.cli.ask import ask
from lrwatch.cli.completion import run_argument
from lrwatch.cli.output import Choice, format_option, print_json, safe
from lrwatch.cli.settings import config_option, load_config, state_option
from lrwatch.core.options import STRATEGIES

ClickCommand = Callable[..., Any]


def _shared(command: ClickCommand) -> ClickCommand:
    for option in (format_option, state_option, config_option):
        command = option(command)
    return command


@click.command("set")
@run_argument()
@click.option(
    "--scale",
    type=float,
    required=True,
    metavar="X",
    help="Absolute multiplier on the schedule's learning rate; 1 is untouched.",
)
@_shared
def set_scale(run: str, scale: float, config_file: Path | None, state: str | None, form: str) -> int:
    """Set the scale of RUN's learning rate."""
    return _request(run, "set", repr(scale), config_file, state, form)


@click.command()
@run_argument()
@_shared
def undo(run: str, config_file: Path | None, state: str | None, form: str) -> int:
    """Go back to the scale before the last change."""
    return _request(run, "undo", "", config_file, state, form)


@click.command()
@run_argument()
@click.argument("name", type=Choice(STRATEGIES))
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
    """Change the strategy of RUN, from its present step and scale on."""
    argument = json.dumps({"strategy": name, "every": every or 0, "length": length or 0})
    return _request(run, "strategy", argument, config_file, state, form)


@click.command()
@run_argument()
@_shared
def decay(run: str, config_file: Path | None, state: str | None, form: str) -> int:
    """Begin the decay of RUN's strategy wsd now."""
    return _request(run, "decay", "", config_file, state, form)


@click.command()
@run_argument()
@_shared
def hold(run: str, config_file: Path | None, state: str | None, form: str) -> int:
    """Send no more commands to RUN, operators' own included, until `resume`; decisions are journalled all the same."""
    return _request(run, "hold", "", config_file, state, form)


@click.command()
@run_argument()
@_shared
def resume(run: str, config_file: Path | None, state: str | None, form: str) -> int:
    """Send commands to RUN again."""
    return _request(run, "resume", "", config_file, state, form)


@click.command()
@run_argument()
@click.argument("steps", type=click.IntRange(min=1))
@_shared
def extend(run: str, steps: int, config_file: Path | None, state: str | None, form: str) -> int:
    """Say that RUN has STEPS steps in all, counted as its log counts them. This overrides the log, the trainer and the settings."""
    return _request(run, "extend", str(steps), config_file, state, form)


@click.command()
@run_argument()
@click.argument("entry_id", metavar="ID", type=int)
@_shared
def approve(run: str, entry_id: int, config_file: Path | None, state: str | None, form: str) -> int:
    """Send the command that was proposed in entry ID of the journal."""
    return _request(run, "approve", str(entry_id), config_file, state, form)


@click.command()
@run_argument()
@click.argument("entry_id", metavar="ID", type=int)
@_shared
def deny(run: str, entry_id: int, config_file: Path | None, state: str | None, form: str) -> int:
    """Turn down the command that was proposed in entry ID of the journal."""
    return _request(run, "deny", str(entry_id), config_file, state, form)


def _request(run: str, verb: str, argument: str, config_file: Path | None, state: str | None, form: str) -> int:
    from lrwatch.errors import RefusedError

    answer = ask(load_config(config_file, daemon__state=state), run, verb, argument)
    if not answer["done"]:
        raise RefusedError(reason=answer["text"], where=f"{verb} {run}")
    if form == "json":
        print_json({"run": run, "verb": verb, "done": True, "text": answer["text"]})
    else:
        click.echo(safe(f"{run}: {answer['text']}"))
    return 0
