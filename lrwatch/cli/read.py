"""`lrwatch read`: any supported log as one table, or an explanation of the samples that it gives."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrwatch.cli.output import csv_cell, format_option, json_text, print_json, print_table, safe
from lrwatch.cli.settings import config_option, load_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from lrwatch.explain import Explanation

AXES = {
    "step": "steps are optimizer steps",
    "epoch": "steps are epochs",
    "record": "the log has no steps, its records are counted",
}
"""Meaning of the steps of a log, in words."""
_SMOOTHING = {"raw": "", "window": "mean since the last one", "running": "mean since the epoch began"}
_ROLES = {
    "train_loss": "training loss", "val_loss": "validation loss", "lr": "learning rate", "scale": "scale", "time": "time",
    "step": "step", "epoch": "epoch", "other": "",
}  # fmt: skip


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--explain", "explained", is_flag=True, help="Say why each kind of line gives samples, or none.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="Write all rows to OUT: .csv, .parquet or .jsonl.",
)
@click.option(
    "--teach",
    "taught",
    is_flag=True,
    help="Ask what one line says, and write a pattern that reads such lines into lrwatch.toml beside FILE, or --config F.",
)
@click.option("--step", metavar="N", help="With --teach and --loss, without questions: the step of one line.")
@click.option("--loss", metavar="X", help="With --teach: the loss in that line, as it stands there.")
@click.option("--lr", metavar="X", help="With --teach: the learning rate in that line.")
@click.option("--line", type=click.IntRange(min=1), metavar="N", help="With --teach: the number of the line.")
@click.option("--force", is_flag=True, help="With --teach: overwrite another pattern in the file.")
@config_option
@format_option
def read(
    file: Path, explained: bool, output: Path | None, taught: bool, step: str | None, loss: str | None, lr: str | None,
    line: int | None, force: bool, config_file: Path | None, form: str,
) -> int:  # fmt: skip
    """Show what lrwatch understands of a log: text, documents, event files, databases, also in gzip.

    With --config, the log is read as [watch] format or pattern there says.
    """
    from lrwatch.errors import UsageError
    from lrwatch.sources.table import read_log

    values = {name: text for name, text in (("step", step), ("loss", loss), ("lr", lr)) if text is not None}
    if taught:
        if explained or output is not None:
            raise UsageError(
                expected="--teach alone", found="--explain or --output beside it", where="lrwatch read",
                hint="Teach first, then read with --config.",
            )  # fmt: skip
        from lrwatch.cli.teach import teach

        teach(file, values, line, config_file, force=force, form=form, describe=_describe)
        return 0
    if values or line is not None or force:
        raise UsageError(
            expected="--teach", found="an option that belongs to it", where="lrwatch read",
            hint=f"Try `lrwatch read {file} --teach --step 12 --loss 2.31`.",
        )  # fmt: skip
    reading = load_config(config_file).watch.reading if config_file is not None else "auto"
    if explained:
        from lrwatch.explain import explain

        if output is not None:
            raise UsageError(
                expected="either --explain or --output", found="both", where="lrwatch read", hint="Leave one out."
            )
        _show(file, explain(file, reading), form)
        return 0
    if output is not None and output.suffix not in (".csv", ".parquet", ".jsonl"):
        raise UsageError(
            expected="a name that ends in .csv, .parquet or .jsonl",
            found=str(output),
            where="--output",
            hint="Choose one of them.",
        )
    table = read_log(file, reading)
    if output is not None:
        _write(table, output)
        click.echo(safe(f"{len(table)} rows of {len(table.columns) - 1} metrics written to {output}"), err=True)
    elif form == "json":
        for record in _records(table):  # without a version: a metric may be called `v`
            click.echo(json_text(record))
    else:
        _describe(file, table)
    return 0


def _records(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the values of each row. A NaN that was logged stays, a cell without a value (see `read_log`) is left out."""
    absent = {str(name): table[name].isna().tolist() for name in table.columns}
    for row, record in enumerate(table.to_dict("records")):
        yield {str(name): value for name, value in record.items() if not absent[str(name)][row]}


def _write(table: pd.DataFrame, output: Path) -> None:
    from lrwatch.errors import UsageError

    if output.suffix == ".csv":
        table.to_csv(output, index=False, header=[csv_cell(str(name)) for name in table.columns])
    elif output.suffix == ".jsonl":
        with output.open("w", encoding="utf-8") as out:
            out.writelines(json_text(record) + "\n" for record in _records(table))
    else:
        try:
            table.to_parquet(output, index=False)
        except ImportError:
            raise UsageError(
                expected="pyarrow, which writes Parquet",
                found="that it is not installed",
                where="--output",
                hint="Install it with `pip install 'lrwatch[parquet]'`, or write .csv or .jsonl.",
            ) from None


def _describe(file: Path, table: pd.DataFrame) -> None:
    """Print the metrics of a log, one a row."""
    from lrwatch.sources.metric_names import LEFT_OUT, TOO_LONG
    from lrwatch.sources.table import SPARSE

    attrs = table.attrs
    segments = attrs["segments"]
    more = f", in {len(segments)} segments (steps go back: a resume or another run)" if len(segments) > 1 else ""
    click.echo(safe(f"{file}: format {attrs['format']}, {len(table)} rows{more}; {AXES[attrs['axis']]}"), err=True)
    for reason in (LEFT_OUT, TOO_LONG, SPARSE):
        if count := attrs["errors"].get(reason):
            click.echo(f"{count} x {reason}", err=True)
    described = []
    for name in table.columns[1:]:
        column = table[name].dropna()
        at = table["step"][column.index]
        if len(column):
            ends = [at.iloc[0], column.to_numpy(float)[0], at.iloc[-1], column.to_numpy(float)[-1]]
            smoothing = _SMOOTHING[attrs["smoothing"].get(name, "raw")]
            described.append([name, len(column), *[v.item() for v in ends], smoothing])
    header = ["metric", "values", "first step", "first", "last step", "last", "smoothing"]
    print_table(header, described, right=[1, 2, 3, 4, 5])


# ---- read --explain -------------------------------------------------------------------------------------------------

# Characters of the line that is shown beside a metric.
_SHORT = 50


def _show(file: Path, found: Explanation, form: str) -> None:
    if form == "json":
        print_json({"file": str(file), **asdict(found)})
        return
    how = f"format {found.format}: {found.chosen}" if found.format else "no format understands it"
    unit = found.unit
    part = "" if found.complete else " looked at, at the beginning and the end of the log,"
    gave = f"{found.gave} of" if found.gave else "none of"
    what = f"samples; {AXES[found.axis]}" if found.gave else "a sample"
    click.echo(safe(f"{file}: {how}"))
    click.echo(f"{gave} {found.looked} {unit}s{part} gave {what}")
    if found.metrics:
        click.echo()
        rows = [
            [m.name, _ROLES[m.role], _SMOOTHING[m.smoothing], m.samples, _place(m.line, m.example[:_SHORT])]
            for m in found.metrics
        ]
        print_table(["metric", "what it is", "smoothing", "samples", "first in"], rows, right=[3])
    if found.reasons:
        click.echo()
        table: list[list[Any]] = []
        for reason in found.reasons:
            table.append([reason.lines, reason.text, _place(reason.line, reason.example)])
            if reason.hint:
                table.append(["", f"  {reason.hint}", ""])
        print_table([f"{unit}s", "why they gave nothing", "for example"], table, right=[0])
    click.echo()
    for note in found.notes:
        click.echo(safe(f"note: {note}"))
    for name, made in found.others.items():
        click.echo(safe(f"as {name}: {made}"))
    click.echo(
        safe(f"watched would be: {found.watched}" if found.watched else f"watched would be: nothing. {found.advice}")
    )


def _place(line: int | None, example: str) -> str:
    return f"line {line}: {example}" if line is not None else example
