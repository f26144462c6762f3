"""The live table of runs in a terminal: with rich where it is installed and the output is a terminal, in plain text elsewhere.

The plain table has no control sequences, so it is printed again only where it is worth reading: when the state of a run, or what waits for
a person, has changed, and every PLAIN_SECONDS where only numbers move.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import click

from lrwatch.cli.output import print_table, safe
from lrwatch.core.overview import Overview, Tone, headline, heights

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_SECONDS = 60.0

# Lines of the terminal beside the rows of the table: headline, header, rules, what follows.
AROUND_ROWS = 6

# Columns below which the sentences do not fit beside the table.
WIDE = 110

# Characters of the small picture of a curve.
CURVE_CHARS = 16

_BARS = "▁▂▃▄▅▆▇█"
_STYLES: dict[Tone, str] = {
    "act": "bold magenta", "bad": "bold red", "warn": "yellow", "good": "green", "plain": "", "over": "dim",
}  # fmt: skip


class View(Protocol):
    """Display of runs that hears of their changes."""

    def show(self, runs: Sequence[Overview], notes: Sequence[str]) -> None:
        """Show runs, in the order in which they need a person, and sentences about all of them."""

    def close(self) -> None:
        """Leave the terminal as it was, with the newest table on it."""


def view() -> View:
    """Return the view that standard output can take: in colour on a terminal, in plain text elsewhere and with NO_COLOR."""
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
    if not is_terminal:
        return PlainView()
    if importlib.util.find_spec("rich") is None:
        click.echo("a table that stays in its place needs rich: pip install 'lrwatch[live]'", err=True)
        return PlainView()
    return RichView()


def spark(values: Sequence[float], width: int = CURVE_CHARS) -> str:
    """Draw a curve in one line of text, its newest value at the right.

    >>> spark((4.0, 3.0, 2.0, 1.0, 1.0))
    '██▅▁▁'
    """
    if len(values) < 2:
        return ""
    if len(values) > width:
        edges = [len(values) * i // width for i in range(width + 1)]
        parts = [values[a:b] for a, b in pairwise(edges)]
        values = [sum(value / len(part) for value in part) for part in parts]
    return "".join(_BARS[round(height * (len(_BARS) - 1))] for height in heights(values))


def progress(one: Overview) -> str:
    """Return how far a run is, in a few characters."""
    return f"{one.step} ({100 * one.share:.0f} %)" if one.share is not None else one.step


def _below(runs: Sequence[Overview]) -> list[str]:
    """Return what a person can do, a line each."""
    return [f"{one.name}: {words}" for one in runs for words in one.waits]


class PlainView:
    """The table in plain text."""

    def __init__(self) -> None:
        self._shown: tuple[object, ...] = ()
        self._numbers: tuple[object, ...] = ()
        self._shown_at = float("-inf")

    def show(self, runs: Sequence[Overview], notes: Sequence[str]) -> None:
        """Print the table, if it is worth reading again."""
        news = (tuple((one.name, one.state, one.scale, one.waits) for one in runs), tuple(notes))
        numbers = tuple((one.step, one.value) for one in runs)
        moved = numbers != self._numbers and time.monotonic() - self._shown_at >= PLAIN_SECONDS
        if news == self._shown and not moved:
            return
        if self._shown:
            click.echo()
        self._shown, self._numbers, self._shown_at = news, numbers, time.monotonic()
        click.echo(f"{time.strftime('%H:%M:%S')}  {headline(runs)}")
        curves = (sys.stdout.encoding or "").lower().startswith("utf")
        rows = [
            [one.name, one.state, f"{one.metric} {one.value}".strip(), spark(one.curve) if curves else "", progress(one), one.scale, one.words]
            for one in runs
        ]  # fmt: skip
        if rows:
            print_table(["run", "state", "value", "curve", "progress", "scale", "note"], rows)
        for line in [*_below(runs), *notes]:
            click.echo(safe(line))
        sys.stdout.flush()

    def close(self) -> None:
        """Do nothing: each table was printed whole."""


class RichView:
    """The table in its place on a terminal, with colours.

    Args:
        console: Where it is shown; None is standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False, emoji=False) if console is None else console
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def show(self, runs: Sequence[Overview], notes: Sequence[str]) -> None:
        """Redraw the table."""
        self._live.update(self._drawn(runs, notes), refresh=True)

    def close(self) -> None:
        """Leave the newest table, and show the cursor again."""
        self._live.stop()

    def _drawn(self, runs: Sequence[Overview], notes: Sequence[str]) -> RenderableType:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        wide = self._console.width >= WIDE
        table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1))
        table.add_column("run", no_wrap=True, overflow="ellipsis", ratio=2, min_width=8)
        table.add_column("state", no_wrap=True)
        table.add_column("value", no_wrap=True, justify="right")
        table.add_column("curve", no_wrap=True)
        table.add_column("progress", no_wrap=True, justify="right")
        table.add_column("scale", no_wrap=True, justify="right")
        if wide:
            table.add_column("note", no_wrap=True, overflow="ellipsis", ratio=5)
        below = [*_below(runs), *notes]
        room = max(3, self._console.height - AROUND_ROWS - len(below))
        for one in runs[:room]:
            dim = "dim" if one.tone == "over" else ""
            cells = [
                Text(safe(one.name), "bold" if one.tone != "over" else "dim"), Text(safe(one.state), _STYLES[one.state_tone]),
                Text(safe(one.value), dim), Text(spark(one.curve), "dim" if dim else "cyan"), Text(progress(one), dim), Text(safe(one.scale), dim),
            ]  # fmt: skip
            table.add_row(*cells, *([Text(safe(one.words), "dim")] if wide else []))
        parts: list[RenderableType] = [Text(headline(runs), "bold")]
        if runs:
            parts.append(table)
        if len(runs) > room:
            parts.append(Text(f"and {len(runs) - room} more, which need less: a taller window shows them", "dim"))
        parts += [Text(safe(line), "magenta") for line in _below(runs)]
        parts += [Text(safe(line), "dim") for line in notes]
        return Group(*parts)
