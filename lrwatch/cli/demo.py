"""`lrwatch demo`: the whole way of one loss value in a minute."""

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
    help="Duration of the training; a slow machine takes longer.",
)
@click.option(
    "--listen",
    default="127.0.0.1:0",
    show_default=True,
    metavar="HOST:PORT",
    help="Where /metrics is served meanwhile; port 0 takes a free one.",
)
@click.option("--insecure-listen", is_flag=True, help="Let other machines read without TLS and passwords.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="F",
    help="Where the HTML report goes.  [default: in the demo's own directory]",
)
def demo(seconds: float, listen: str, insecure_listen: bool, report: Path | None) -> int:
    """Train a small network with lrwatch beside it, and the same network without.

    A real training in a second process writes an ordinary log; the daemon finds the plateaus and turns the learning rate
    down; the trainer applies and acknowledges. At the end both results are printed, with every change, its reason and its
    effect. Exit code 1 if the run was not improved or a command was not acknowledged.
    """
    from lrwatch.demo.show import run_demo

    return run_demo(seconds, listen, report, insecure=insecure_listen)
