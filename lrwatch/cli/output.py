"""Printing: tables for people, JSON for programs, and no character from outside that could move a cursor."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from lrwatch.core.events import kind_label
from lrwatch.core.plain import plain
from lrwatch.core.proposal import how_to_approve

# Columns of a cell that the others of its column are set as wide as; a longer one moves only its own row.
_WIDEST = 40

# What begins a formula, also in the full width of East Asian text, which spreadsheets take for the same.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

RECORD_VERSION = 1
"""Version of the records of `--format json`. It grows when a field is renamed or taken away, never when one is added."""

ClickCommand = Callable[..., Any]


class Choice(click.Choice):  # type: ignore[type-arg]  # generic since click 8.2 only
    """One of several words; another one is answered with the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word.

        Raises:
            BadParameter: It is none of them.
        """
        if value not in self.choices:
            near = difflib.get_close_matches(str(value), self.choices, n=1, cutoff=0.5)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise click.BadParameter(f"expected one of {', '.join(self.choices)}, found {value!r}.{meant}", ctx, param)
        return str(value)


def format_option(command: ClickCommand) -> ClickCommand:
    """Add `--format table|json`, for every verb that prints data."""
    return click.option(
        "--format", "form", type=Choice(["table", "json"]), default="table", show_default=True,
        help="A table for people, or one JSON object a line.",
    )(command)  # fmt: skip


def safe(text: object) -> str:
    r"""Return `text` with every character escaped that would control a terminal or reverse the text around it.

    Characters that nobody sees are among them: they would make a name read as another.

    >>> safe("loss\x1b[2J \u202etxt.exe"), safe("\ud800"), safe("потери 损失")
    ('loss\\x1b[2J \\u202etxt.exe', '\\ud800', 'потери 损失')
    """
    plain_text = str(text)
    if plain_text.isprintable():
        return plain_text
    return "".join(c if c.isprintable() else _escape(ord(c)) for c in plain_text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def csv_cell(text: str) -> str:
    """Return the text of a cell that is no formula to a spreadsheet, and holds no character that `safe` escapes.

    Spreadsheets show what is behind an apostrophe as it is.

    >>> csv_cell("=HYPERLINK(1)"), csv_cell("@loss"), csv_cell("loss")
    ("'=HYPERLINK(1)", "'@loss", 'loss')
    """
    return safe(f"'{text}" if text.startswith(_FORMULA) else text)


def give_up_output() -> None:
    """Discard standard output from now on, its buffer included: it cannot be written any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str) -> None:
    """Print one line on standard error, if that can be written; a daemon continues without."""
    with contextlib.suppress(OSError):
        click.echo(safe(text), err=True)


def number(value: object) -> str:
    """Format a number; "" for None."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def print_json(record: Mapping[str, Any]) -> None:
    """Print one record on a line, as `lrwatch schema` describes it; numbers that JSON does not have are strings."""
    click.echo(json_text({"v": RECORD_VERSION, **record}))


def json_text(record: Mapping[str, Any]) -> str:
    """Return one JSON object as text; numbers that JSON does not have are strings."""
    return json.dumps(plain(record))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> None:
    """Print a table in plain text.

    Args:
        header: The columns' titles.
        rows: The cells.
        right: Indices of the columns that are set flush right.
    """
    lines = [[safe(number(cell)) for cell in row] for row in rows]
    widths = [
        max(len(header[i]), *(len(cells[i]) for cells in lines if len(cells[i]) <= _WIDEST), 0)
        for i in range(len(header))
    ]
    for cells in [list(header), *lines]:
        text = "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        )
        click.echo(text.rstrip())


# States of a command that say too little in one word.
_STATES = {
    "outdated": "not sent: the training is far beyond it",
    "history": "not sent: the log was read afterwards",
    "held": "not sent: the run is held",
}


def sentence(event: Mapping[str, Any]) -> str:
    """Return one event of the journal in words."""
    what = event["event"]
    if what == "finding":
        return f"{kind_label(event['kind'])}: {event['message']}"
    if what == "command":
        state = f" ({_STATES.get(event['state'], event['state'])})" if "state" in event else ""
        return f"scale {event['scale']:.4g}{state}: {event['reason']}{_how_to_approve(event)}"
    if what == "acknowledged":
        return f"acknowledged: scale {event['scale']:.4g} from step {event['step']:,} on"
    if what == "rejected":
        return f"rejected: {event['message']}"
    if what == "operator" and event["verb"] == "strategy":  # the argument is JSON, and the message repeats it in words
        return f"{event['actor']}: {event['message']}"
    if what == "operator":
        return f"{event['actor']}: {event['verb']} {event['argument']}: {event['message']}".replace(" : ", ": ")
    if what == "state":
        return f"{event['metric']}{' (decides)' if event['decides'] else ''}: {event['message']}"
    if what == "hello":
        other = "; another process that runs uses its control directory too" if event.get("two_trainers") else ""
        return f"a trainer listens, at scale {event['scale']:g} ({event['client']}){other}"
    if what == "life":
        return f"{event['life']}: {event['message']}"
    return f"{what.replace('_', ' ')}: {event['message']}"


def decided_by(source: str) -> str:
    """Return why a metric decides, and how another one can."""
    return (
        "by its name (--metric or [run] metric name another)"
        if source == "name"
        else "as [run] metric or --metric says"
    )


def _how_to_approve(event: Mapping[str, Any]) -> str:
    """Return what to type, where a command waits for a person and has its number in a journal."""
    if "expires_at" not in event or event.get("state") in (None, "outdated", "history") or "id" not in event:
        return ""
    return f"; approve with: {how_to_approve(event['run'], event['id'])} (before step {event['expires_at']:,})"


def event_line(event: Mapping[str, Any]) -> str:
    """Return one event as a line of a running log."""
    step = "" if event.get("step") is None else f" step {event['step']}"
    return safe(f"{clock(event.get('time'))}{event['run']}{step}  {sentence(event)}")


def clock(seconds: float | None) -> str:
    """Return the local time of `seconds` since the epoch, with a blank after it; "" for None."""
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(seconds))
