"""`lrwatch schema`: the JSON Schema of what a verb prints with `--format json`."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("verb", nargs=-1, type=click.UNPROCESSED, metavar="[VERB]")
def schema(verb: tuple[str, ...]) -> int:
    """Print the JSON Schema of a line that VERB prints with --format json; without VERB, the verbs that have one.

    Version 1 (the key `v`) stays readable: fields are added, never renamed or taken away. VERB may have several words, and an
    option that changes what is printed stands behind `--`: `lrwatch schema config show`, `lrwatch schema -- read --explain`.
    """
    from lrwatch.cli.record_schema import schema as made
    from lrwatch.cli.records import RECORDS
    from lrwatch.errors import UsageError

    name = " ".join(verb)
    if not name:
        for one in RECORDS:
            click.echo(one)
        return 0
    if name not in RECORDS:
        raise UsageError(
            expected="a verb that prints data", found=repr(name), where="lrwatch schema",
            hint=f"They are {', '.join(RECORDS)}.",
        )  # fmt: skip
    click.echo(json.dumps(made(name), indent=2))
    return 0
