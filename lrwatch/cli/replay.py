"""`lrwatch replay`: the daemon's decisions on finished logs."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrwatch.cli.output import format_option, print_json, print_table, safe, sentence
from lrwatch.cli.progress import ByteProgress
from lrwatch.cli.settings import config_option, load_config, metric_option

if TYPE_CHECKING:
    from lrwatch.store import Entry


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@config_option
@metric_option
@click.option(
    "--states", is_flag=True, help="With --format json: end with a line for each watched metric, where it stands."
)
@click.option("--since", type=click.IntRange(min=0), metavar="STEP", help="Only what came after STEP.")
@format_option
def replay(
    paths: tuple[Path, ...], config_file: Path | None, metric: str | None, states: bool, since: int | None, form: str
) -> int:  # fmt: skip
    """Show the daemon's findings and commands on finished logs, and where each watched metric stands at the end.

    The same code as `run`, without waiting and without commands to a trainer. A directory stands for the runs in it, each with
    all its logs.
    """
    from lrwatch.core.direction import RATHER_RISES, SAY_DIRECTION, sounds_wrong
    from lrwatch.offline.replay import end_states, replay_run, runs_at

    config = load_config(config_file, run__metric=metric)
    rows: list[list[Any]] = []

    def print_event(entry: Entry) -> None:
        event = {key: value for key, value in entry.event.items() if key not in ("mode", "state")}
        if since is not None and (event.get("step") is None or event["step"] <= since):
            return
        if form == "json":
            print_json({**event, "run": entry.run})
        else:
            rows.append([entry.run, event.get("step"), sentence(event)])

    for finished in [run for path in paths for run in runs_at(path)]:
        with closing(ByteProgress(finished.name)) as progress:
            run = replay_run(finished, config, print_event, progress.show)
        status = run.status(0.0)
        for event in end_states(run):
            if form == "table":
                rows.append([run.name, event["step"], sentence(event)])
            elif states:  # without, the lines are those of the journal
                print_json(event)
        if form == "table":
            summary = (
                f"{finished.path}: {status.samples} samples of {len(status.metrics)} metrics up to step {status.step}; "
                f"watched was {status.metric}"
            )
            click.echo(safe(summary), err=True)
            if sounds_wrong(status.metric, config.detect.direction):
                click.echo(safe(f"{finished.path}: {status.metric} {RATHER_RISES}. {SAY_DIRECTION}"), err=True)
    if form == "table":
        if rows:
            print_table(["run", "step", "what"], rows, right=[1])
        else:
            click.echo("nothing to report")
    return 0
