"""`lrwatch completion`: the script with which a shell completes commands, options and the names of runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from lrwatch.cli.output import Choice

SHELLS = ("bash", "zsh", "fish")

# What click answers to, by the name of the program.
VARIABLE = "_LRWATCH_COMPLETE"


@click.command()
@click.argument("shell", type=Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the script that completes commands, options and names of runs in SHELL: bash, zsh or fish.

    \b
    Load it when the shell starts:
      bash  echo 'eval "$(lrwatch completion bash)"' >> ~/.bashrc
      zsh   echo 'eval "$(lrwatch completion zsh)"' >> ~/.zshrc
      fish  lrwatch completion fish > ~/.config/fish/completions/lrwatch.fish
    """  # noqa: D301  (click takes the character itself)
    made = get_completion_class(shell)
    assert made is not None  # click knows the three of SHELLS
    click.echo(made(ctx.find_root().command, {}, "lrwatch", VARIABLE).source())
    return 0


def run_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of the runs that the state knows and that begin with `incomplete`.

    Args:
        ctx: The command, with its --state and --config where they stand before.
        _: The argument.
        incomplete: What was typed of it.
    """
    from lrwatch.cli.settings import has_state, load_config, open_store
    from lrwatch.errors import LrwatchError

    try:
        config = load_config(ctx.params.get("config_file"), daemon__state=ctx.params.get("state"))
        if not has_state(config):
            return []
        store = open_store(config)
    except (LrwatchError, OSError):  # who completes cannot be told; the command itself will say it
        return []
    try:
        return [CompletionItem(name) for name in store.runs() if name.startswith(incomplete)]
    finally:
        store.close()


def run_names_or_files(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of runs, or else let the shell complete files.

    Args:
        ctx: The command, with its options where they stand before.
        parameter: The argument.
        incomplete: What was typed of it.
    """
    return run_names(ctx, parameter, incomplete) or [CompletionItem(incomplete, type="file")]


def run_argument(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the argument RUN, which a shell completes.

    Args:
        required: Whether it must be given.
    """
    return click.argument("run", required=required, shell_complete=run_names)
