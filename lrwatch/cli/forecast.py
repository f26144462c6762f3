"""`lrwatch forecast`: where a run will end, with 80 % intervals, or why that cannot be said."""

from __future__ import annotations

from pathlib import Path

import click

from lrwatch.cli.completion import run_names_or_files
from lrwatch.cli.output import format_option, number, print_json, print_table, safe
from lrwatch.cli.report import is_run
from lrwatch.cli.settings import config_option, load_config, metric_option, open_store, require_run, state_option


@click.command()
@click.argument("run_or_file", metavar="RUN|FILE", shell_complete=run_names_or_files)
@click.option("--total", type=click.IntRange(min=1), metavar="N", help="Length of the run, counted as its log counts.")
@click.option("--at", type=click.IntRange(min=1), metavar="STEP", help="Forecast from what came up to STEP.")
@config_option
@metric_option
@state_option
@format_option
def forecast(
    run_or_file: str,
    total: int | None,
    at: int | None,
    config_file: Path | None,
    metric: str | None,
    state: str | None,
    form: str,
) -> int:
    """Forecast the mean of the watched metric over the last twentieth of a run.

    As it goes, and if the decay of the rate began now. 80 of 100 ends lie in the intervals, measured on 124 logs of other people's
    trainings; where that cannot be kept there is no forecast, and the reason is named.
    """
    from lrwatch.offline.forecast import of_file, of_run

    config = load_config(config_file, run__metric=metric, daemon__state=state)
    path = Path(run_or_file)
    if path.exists() and not (path.is_dir() and is_run(run_or_file, config)):
        made = of_file(path, config, total or 0, at)
    else:
        store = open_store(config)
        try:
            made = of_run(require_run(store, run_or_file), store, config, total or 0, at)
        finally:
            store.close()
    if form == "json":
        print_json(made.as_json())
        return 0
    goes, source = made.as_it_goes, f" ({made.length_source})" if made.length_source else ""
    of = f" of {goes.total_steps}{source}" if goes.total_steps else ""
    click.echo(safe(f"{made.run}: {made.metric} is {number(made.level)} at step {goes.step}{of}"))
    rows = [
        [
            words,
            *(["", one.reason] if one.reason else [number(one.value), f"{number(one.lower)} to {number(one.upper)}"]),
        ]
        for words, one in (("as it goes", goes), ("if the decay began now", made.if_decay_began_now))
    ]
    print_table(["the end", "forecast", "80 % interval, or why there is none"], rows, right=[1])
    if not goes.reason:
        click.echo(
            "A decay of the rate may end lower than the forecast for the present rate; only the better bound leaves room for one."
        )
    if made.note:
        click.echo(safe(made.note))
    return 0
