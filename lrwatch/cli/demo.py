"""`lrwatch demo`: real trainings with and without lrwatch, in under a minute."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=2.0),
    default=30.0,
    show_default=True,
    metavar="N",
    help="Duration of the trainings; a slow machine takes longer.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of weights, data and batches."
)
@click.option(
    "--listen",
    default="127.0.0.1:0",
    show_default=True,
    metavar="HOST:PORT",
    help="Where the live page and /metrics are served meanwhile; port 0 takes a free one.",
)
@click.option("--insecure-listen", is_flag=True, help="Let other machines read without TLS and passwords.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="F",
    help="Where the HTML report goes.  [default: in the demo's own directory]",
)
def demo(seconds: float, seed: int, listen: str, insecure_listen: bool, report: Path | None) -> int:
    """Train a small network from three start rates: alone, with torch's rule, and with lrwatch.

    The trainings are real, and so is the daemon beside them. At the end one table shows the final losses, and one sentence
    each change: proven, or taken back.

    Exit code 1 if lrwatch did not lower the loss on average, if a training ended more than 2 % above the same one alone, or
    if a change was not acknowledged.
    """
    from lrwatch.demo.show import run_demo

    return run_demo(seconds, listen, report, seed=seed, insecure=insecure_listen)
