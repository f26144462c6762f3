"""`lrwatch config`: check, show and describe the settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lrwatch.cli.output import format_option, print_json, print_table, safe
from lrwatch.cli.settings import config_option, load_config


def _file(command: Callable[..., Any]) -> Callable[..., Any]:
    """Take the file as an argument, or with --config as all other commands do."""
    return click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[F]")(
        config_option(command)
    )


def _one(file: Path | None, config_file: Path | None) -> Path | None:
    from lrwatch.errors import UsageError

    if file is not None and config_file is not None and file != config_file:
        raise UsageError(
            expected="one file", found=f"{file} and {config_file}", where="lrwatch config", hint="Name one of them.",
        )  # fmt: skip
    return file or config_file


@click.group()
def config() -> None:
    """Check, show and describe the settings: flags over LRWATCH_SECTION_KEY over the TOML file over defaults."""


@config.command()
@_file
def check(file: Path | None, config_file: Path | None) -> int:
    """Check whether the settings are valid."""
    file = _one(file, config_file)
    load_config(file)
    click.echo(safe(f"{file or 'the environment'}: valid"))
    return 0


@config.command()
@_file
@format_option
def show(file: Path | None, config_file: Path | None, form: str) -> int:
    """Print every key with its effective value and the origin of that."""
    from lrwatch.config import keys, shown

    effective = load_config(_one(file, config_file))
    rows = []
    for name in keys():
        section, _, key = name.partition(".")
        value = getattr(getattr(effective, section), key)
        rows.append([name, json.dumps(shown(name, value)), effective.origins.get(name, "default")])
    if form == "json":
        for name, value, origin in rows:
            print_json({"key": name, "value": json.loads(value), "origin": origin})
    else:
        print_table(["key", "value", "origin"], rows)
    return 0


@config.command()
@_file
def schema(file: Path | None, config_file: Path | None) -> int:
    """Print the JSON Schema of the file, for editors."""
    import msgspec

    from lrwatch.config import SECTIONS

    load_config(_one(file, config_file))
    (*refs,), definitions = msgspec.json.schema_components(list(SECTIONS.values()))
    for definition in definitions.values():
        definition["additionalProperties"] = False
        definition.pop("required", None)
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lrwatch.toml",
        "type": "object",
        "properties": dict(zip(SECTIONS, refs, strict=True)),
        "additionalProperties": False,
    }
    click.echo(json.dumps({**described, "$defs": definitions}, indent=2))
    return 0
