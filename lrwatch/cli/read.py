"""`lrwatch read`: any supported log as one table."""

from __future__ import annotations

from pathlib import Path

import click

from lrwatch.cli.output import format_option, print_json, print_table, safe


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="OUT", help="Write all rows to OUT: .csv or .jsonl."
)
@format_option
def read(file: Path, output: Path | None, form: str) -> int:
    """Show what lrwatch understands of a log."""
    from lrwatch.errors import UsageError
    from lrwatch.sources.table import read_log

    table = read_log(file)
    if output is not None:
        if output.suffix == ".csv":
            table.to_csv(output, index=False)
        elif output.suffix == ".jsonl":
            table.to_json(output, orient="records", lines=True)
        else:
            raise UsageError(
                expected="a name that ends in .csv or .jsonl",
                found=str(output),
                where="--output",
                hint="Choose one of them.",
            )
        click.echo(safe(f"{len(table)} rows of {len(table.columns) - 1} metrics written to {output}"), err=True)
        return 0
    if form == "json":
        for record in table.to_dict("records"):
            print_json({str(key): value for key, value in record.items() if value == value})
        return 0
    click.echo(safe(f"{file}: format {table.attrs['format']}, {len(table)} rows by {table.attrs['axis']}"), err=True)
    described = []
    for name in table.columns[1:]:
        column = table[name].dropna()
        at = table["step"][column.index]
        if len(column):
            ends = [at.iloc[0], column.iloc[0], at.iloc[-1], column.iloc[-1]]
            described.append([name, len(column), *[v.item() for v in ends]])
    print_table(["metric", "values", "first step", "first", "last step", "last"], described, right=[1, 2, 3, 4, 5])
    return 0
