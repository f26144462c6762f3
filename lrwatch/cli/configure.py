"""`lrwatch config`: check, show and describe the settings."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lrwatch.cli.output import format_option, print_json, print_table, safe
from lrwatch.cli.settings import load_config

_file = click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[F]")


@click.group()
def config() -> None:
    """Check, show and describe the settings: flags over LRWATCH_SECTION_KEY over the TOML file over defaults."""


@config.command()
@_file
def check(file: Path | None) -> int:
    """Check whether the settings are valid."""
    load_config(file)
    click.echo(safe(f"{file or 'the environment'}: valid"))
    return 0


@config.command()
@_file
@format_option
def show(file: Path | None, form: str) -> int:
    """Print every key with its effective value and the origin of that."""
    from lrwatch.config import keys

    effective = load_config(file)
    rows = []
    for name in keys():
        section, _, key = name.partition(".")
        value = getattr(getattr(effective, section), key)
        rows.append([name, json.dumps(value), effective.origins.get(name, "default")])
    if form == "json":
        for name, value, origin in rows:
            print_json({"key": name, "value": json.loads(value), "origin": origin})
    else:
        print_table(["key", "value", "origin"], rows)
    return 0


@config.command()
@_file
def schema(file: Path | None) -> int:
    """Print the JSON Schema of the file, for editors."""
    import msgspec

    from lrwatch.config import SECTIONS

    load_config(file)
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
