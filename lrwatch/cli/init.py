"""`lrwatch init`: scan a run's directory and write a commented `lrwatch.toml` for it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from lrwatch.cli.config_file import NAME, write
from lrwatch.cli.output import format_option, print_json, print_table, safe

# Seconds after which a progress bar appears.
_PATIENCE_SECONDS = 1.0


@click.command()
@click.argument("directory", required=False, default=".", metavar="[DIR]", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help=f"Overwrite an existing {NAME}.")
@click.option("--dry-run", is_flag=True, help="Print the configuration instead of writing it.")
@format_option
def init(directory: Path, force: bool, dry_run: bool, form: str) -> int:
    """Look at the files in DIR, and write DIR/lrwatch.toml for the logs among them.

    Every file is judged by its content. What was found is printed; `lrwatch run --config DIR/lrwatch.toml` watches it.
    """
    from lrwatch.cli.proposal import choose, toml
    from lrwatch.errors import ConfigError, InputError
    from lrwatch.explain.scan import files, scan

    if not directory.is_dir():
        raise InputError(
            expected="a directory", found="a file" if directory.exists() else "nothing", where=str(directory),
            hint="Give the directory that a training writes its logs to.",
        )  # fmt: skip
    target = directory / NAME
    if os.path.lexists(target) and not (force or dry_run):
        raise ConfigError(
            expected="no configuration yet", found="one that is there already", where=str(target),
            hint="Overwrite it with --force, or look at what would be written with --dry-run.",
        )  # fmt: skip
    paths, cut = files(directory)
    scanned = [scan(path) for path in _with_a_bar(paths)]
    if not dry_run:
        _show(directory, scanned, form)
    if cut:
        click.echo(safe(f"lrwatch: {cut}"), err=True)
    proposal = choose(directory, scanned)
    if proposal is None:
        raise InputError(
            expected="a training log in the directory",
            found=f"none among {len(scanned)} files" if scanned else "no files",
            where=str(directory),
            hint=f"`lrwatch read --explain {scanned[0].path if scanned else 'FILE'}` says why a file gives nothing.",
        )
    text = toml(directory, scanned, proposal)
    if dry_run:
        click.echo(text, nl=False)
        return 0
    write(target, text)
    click.echo(safe(f"{target} written; try `lrwatch run --once --config {target}`"), err=True)
    return 0


def _show(directory: Path, scanned: Iterable[Any], form: str) -> None:
    rows = []
    for log in scanned:
        name = str(log.path.relative_to(directory))
        if form == "json":
            print_json({
                "file": name, "format": log.format, "rows": log.rows, "axis": log.axis, "metrics": list(log.metrics),
                "loss": log.loss, "why": log.problem,
            })  # fmt: skip
        else:
            found = [log.format or "", log.rows or None, len(log.metrics) or None, log.loss or ""]
            rows.append([name, *found, "" if log.format and log.metrics else log.problem])
    if rows:
        print_table(["file", "format", "rows", "metrics", "loss", ""], rows, right=[2, 3])


def _with_a_bar(paths: list[Path]) -> Iterator[Path]:
    """Yield the paths, with a progress bar on a terminal once that takes long."""
    began = time.monotonic()
    shown = None
    for done, path in enumerate(paths):
        if shown is None and sys.stderr.isatty() and time.monotonic() - began > _PATIENCE_SECONDS:
            shown = click.progressbar(length=len(paths), label="looking at files", file=sys.stderr)
            shown.update(done)
        yield path
        if shown is not None:
            shown.update(1)
    if shown is not None:
        shown.render_finish()
