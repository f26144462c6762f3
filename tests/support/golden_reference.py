"""Pages of the reference that are made from code, whole: `docs/settings.md` and `docs/commands.md`. `make golden` writes them."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from lrwatch.cli import cli
from lrwatch.cli.record_schema import attribute_texts
from lrwatch.config import SECTIONS

DOCS = Path(__file__).parents[2] / "docs"

_MADE = "<!-- Made by `make golden`. Change the code that it describes. -->"

# Wide enough that no line of a help is broken differently on another terminal.
_WIDTH = 96

_SETTINGS = f"""# Settings

{_MADE}

Every setting has a default, so a configuration is optional. Where a setting is given more than once, the first of these wins:

1. a flag of the command line, such as `--mode auto`;
2. an environment variable: `LRWATCH_`, the section and the key, as in `LRWATCH_POLICY_MODE=auto`;
3. the TOML file that `--config` names;
4. the default.

`lrwatch init DIR` writes a commented file for the logs in DIR. `lrwatch config check` with its name says what is wrong with it, `lrwatch config show` prints
every key with its value and where that comes from, and `lrwatch config schema` prints a JSON Schema for editors. `lrwatch run` reads its file
again when it gets SIGHUP.
"""

_COMMANDS = f"""# Commands

{_MADE}

`lrwatch PATH` alone shows the runs at a file, a directory or a glob live in the terminal, and changes nothing. Diagnostics go to standard error, data
to standard output. [For programs and assistants](programs.md) has more on `--format json`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | `lrwatch demo` only: the run was not improved, or a command was not acknowledged |
| 2 | wrong usage |
| 3 | wrong configuration |
| 4 | a file or a run cannot be used |
| 5 | refused by a bound |
| 130 | interrupted |
"""


def _default(value: Any) -> str:
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`" if value is not None else ""


def _kind(hint: Any) -> str:
    """Return the values that a key takes, in words."""
    if get_origin(hint) is Literal:
        return " or ".join(f"`{json.dumps(one)}`" for one in get_args(hint)).replace(
            " or ", ", ", len(get_args(hint)) - 2
        )
    names = {
        "int": "whole number",
        "float": "number",
        "bool": "`true` or `false`",
        "str": "text",
        "tuple": "list",
        "Mapping": "table",
    }
    parts = dict.fromkeys(
        names[name]
        for name in re.findall(r"tuple|Mapping|int|float|bool|str", str(hint))
        if name != "str" or "[" not in str(hint)
    )
    return " or ".join(parts) or "text"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def settings_page() -> str:
    """Return the page of all settings, with their defaults and their reasons."""

    def section(name: str, options: type) -> Iterator[str]:
        summary, _, more = (inspect.getdoc(options) or "").partition("Attributes:")[0].strip().partition("\n\n")
        about = summary.partition(": ")[2]
        yield f"\n## [{name}]\n\n{about[:1].upper()}{about[1:]}"
        if more:
            yield f"\n{' '.join(more.split())}"
        yield "\n| key | values | default | what it does, and why |\n|---|---|---|---|"
        said, hints, defaults = attribute_texts(options), get_type_hints(options), options()
        for one in fields(options):
            yield f"| `{one.name}` | {_kind(hints[one.name])} | {_default(getattr(defaults, one.name))} | {_cell(said[one.name])} |"

    return _SETTINGS + "\n".join(line for name, options in SECTIONS.items() for line in section(name, options)) + "\n"


def commands(of: click.Command = cli, context: click.Context | None = None) -> Iterator[tuple[str, str, str]]:
    """Return every command with its first sentence and with what its `--help` prints."""
    name = "lrwatch" if context is None else of.name
    settings = {**of.context_settings, "terminal_width": _WIDTH, "max_content_width": _WIDTH}
    here = click.Context(of, info_name=name, parent=context, **settings)
    if isinstance(of, click.Group):
        if context is not None:
            yield here.command_path, of.get_short_help_str(_WIDTH), of.get_help(here)
        for sub in of.list_commands(here):
            found = of.get_command(here, sub)
            assert found is not None
            yield from commands(found, here)
    else:
        yield here.command_path, of.get_short_help_str(_WIDTH), of.get_help(here)


def commands_page() -> str:
    """Return the page of all commands: what `--help` prints for each."""
    found = list(commands())
    rows = [f"| [{path}](#{path.replace(' ', '-')}) | {_cell(short)} |" for path, short, _ in found]
    blocks = "\n".join(f"\n## {path}\n\n```text\n{text}\n```" for path, _, text in found)
    return "\n".join([_COMMANDS, "| command | what it does |\n|---|---|", *rows, blocks]) + "\n"


PAGES = {DOCS / "settings.md": settings_page, DOCS / "commands.md": commands_page}
"""The pages, and how each is made."""


def write() -> None:
    """Write the pages."""
    for path, make in PAGES.items():
        path.write_text(make(), encoding="utf-8")
