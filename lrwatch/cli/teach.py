"""`lrwatch read --teach`: ask what one line of a log says, and write a pattern for it into the configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lrwatch.cli.config_file import NAME, ConfigFile, write
from lrwatch.cli.output import print_json, safe
from lrwatch.cli.settings import load_config

if TYPE_CHECKING:
    import pandas as pd

    from lrwatch.config import Config
    from lrwatch.explain.teach import Lesson, NumberedLine

Describe = Callable[[Path, "pd.DataFrame"], None]
_SHOWN = 160


def teach(
    file: Path, values: Mapping[str, str], line: int | None, config_file: Path | None, *, force: bool, form: str,
    describe: Describe,
) -> None:  # fmt: skip
    """Learn how to read a log, and write it down.

    Args:
        file: The log.
        values: Texts of the numbers by group; without a loss, people are asked.
        line: Number of the line that has them, or None.
        config_file: Where the pattern is written; None means lrwatch.toml beside the log.
        force: Whether other patterns there are overwritten without a question.
        form: `table` or `json`.
        describe: Prints what is read in the log.

    Raises:
        InputError: The log cannot be read, or the numbers are not in it.
        UsageError: Numbers are missing and nobody answers.
        ConfigError: The configuration cannot take the pattern, or has one and may not lose it.
    """
    from lrwatch.errors import UsageError
    from lrwatch.explain.teach import learn, lines_of
    from lrwatch.sources.reader import must_be_readable
    from lrwatch.sources.table import read_log

    must_be_readable(file)
    target = ConfigFile(config_file or file.parent / NAME)
    lines = lines_of(file)
    asks = "loss" not in values
    if asks:
        try:
            lesson = _ask(file, lines, values, line)
        except click.Abort:
            if sys.stdin.isatty():  # Ctrl-C
                raise
            raise UsageError(
                expected="answers, or the numbers of one line", found="the end of the input", where="lrwatch read --teach",
                hint="Without questions: --step 12 --loss 2.31, with --lr 3e-4 where the line has a rate.",
            ) from None  # fmt: skip
    else:
        lesson = learn(lines, values, str(file), line)
    _save(target, lesson, file, asks=asks, force=force)
    config = load_config(target.path)
    table = read_log(file, config.watch.reading)
    if form == "json":
        print_json({
            "file": str(file), "line": lesson.line.number, "pattern": lesson.pattern, "config": str(target.path),
            "rows": len(table), "axis": table.attrs["axis"], "metrics": [str(name) for name in table.columns[1:]],
            "errors": table.attrs["errors"],
        })  # fmt: skip
        return
    click.echo()
    describe(file, table)
    for reason, count in table.attrs["errors"].items():
        click.echo(safe(f"note: {count} x {reason}"), err=True)
    _show_use(file, target, config)


def _ask(file: Path, lines: list[NumberedLine], given: Mapping[str, str], line: int | None) -> Lesson:
    """Ask for the numbers until they are found in a line."""
    from lrwatch.errors import InputError
    from lrwatch.explain.teach import NAMES, kinds, learn

    shown = kinds(lines)
    if not shown:
        raise InputError(
            expected="lines with numbers", found=f"none among {len(lines)}", where=str(file),
            hint="Teach it when the training has written its first loss.",
        )  # fmt: skip
    click.echo(safe(f"{file} has these kinds of lines with numbers:"), err=True)
    for one in shown:
        click.echo(safe(f"{one.number:>8}  {one.text[:_SHOWN]}"), err=True)
    while True:
        at = line or click.prompt("Number of a line that has the loss", type=int, err=True)
        for one in lines:
            if one.number == at:
                click.echo(safe(f"{at:>8}  {one.text[:_SHOWN]}"), err=True)
        values = dict(given)
        for name in ("loss", "step", "lr"):
            if name not in values:
                if name == "loss":
                    answer = click.prompt(f"Its {NAMES[name]}", err=True)
                else:
                    question = f"Its {NAMES[name]}, or Enter where it has none"
                    answer = click.prompt(question, default="", show_default=False, err=True)
                if answer.strip():
                    values[name] = answer.strip()
        try:
            return learn(lines, values, str(file), at)
        except InputError as error:
            click.echo(safe(f"lrwatch: {error}"), err=True)
            line = None


def _save(target: ConfigFile, lesson: Lesson, file: Path, *, asks: bool, force: bool) -> None:
    """Write the pattern, unless it is there already."""
    from lrwatch.errors import ConfigError

    click.echo(safe(f"line {lesson.line.number}: {lesson.line.text.strip()[:_SHOWN]}"), err=True)
    click.echo(safe(f"pattern: {lesson.pattern}"), err=True)
    click.echo(f"{lesson.found} lines match it" + (", and none like these:" if lesson.missed else ""), err=True)
    for one in lesson.missed:
        click.echo(safe(f"{one.number:>8}  {one.text[:_SHOWN]}"), err=True)
    if target.patterns == [lesson.pattern]:
        click.echo(safe(f"{target.path} has it already"), err=True)
        return
    text = target.with_pattern(lesson.pattern, [os.path.relpath(file, target.path.resolve().parent)])
    if target.patterns and not force:
        old = ", ".join(map(repr, target.patterns))
        click.echo(safe(f"{target.path} has another pattern: {old}"), err=True)
        if not (asks and click.confirm("Overwrite it?", default=False, err=True)):
            raise ConfigError(
                expected="no pattern yet", found=old, where=f"{target.path}, [watch]",
                hint="Nothing was written. Overwrite it with --force, or write to another file with --config.",
            )  # fmt: skip
    write(target.path, text)
    click.echo(safe(f"{target.path} {'changed' if target.text else 'written'}:"), err=True)
    before = target.text.splitlines()
    for new in text.splitlines():
        if new not in before:
            click.echo(safe(f"  {new}"), err=True)


def _show_use(file: Path, target: ConfigFile, config: Config) -> None:
    """Show what `replay` makes of the log with the configuration, and how to watch it."""
    from lrwatch.errors import InputError
    from lrwatch.offline.replay import FinishedRun, finished_runs, replay_run

    try:
        status = replay_run(FinishedRun(file.stem, (file,)), config, lambda _: None).status(0.0)
        watched = f"{status.samples} samples up to step {status.step}; watched is {status.metric}"
    except InputError as error:
        watched = str(error)
    named = target.path
    covered = file.absolute() in {log.absolute() for run in finished_runs(config.watch.paths)[0] for log in run.logs}
    click.echo(safe(f"`lrwatch replay {file} --config {named}`: {watched}"), err=True)
    click.echo(safe(f"watch it with `lrwatch run {'' if covered else f'{file} '}--config {named}`"), err=True)
