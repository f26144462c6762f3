"""Sections and tables of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lrwatch.report.chart.axis import whole

# What a cell shows where the event says nothing.
NOTHING = "\u2013"


def section(title: str, content: str) -> str:
    """A part of the page under a heading."""
    name = title.lower().replace(" ", "-")
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{content}</section>'


def table(name: str, heads: Iterable[str], body: Sequence[str], count: int, shown: int | None = None) -> str:
    """A table that scrolls on a narrow page; `count` is of what there is, `shown` of what has a row, if not each row is one."""
    shown = len(body) if shown is None else shown
    more = f"<caption>The first {shown:,} of {count:,}; the journal holds all.</caption>" if count > shown else ""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">{bare(heads, body, more)}</div>'


def bare(heads: Iterable[str], body: Sequence[str], caption: str = "") -> str:
    """The table alone; a head that begins with `n:` stands over numbers, an empty one over the marks of the picture."""
    cells = []
    for head in heads:
        words = head.removeprefix("n:")
        css = ' class="n"' if words != head else ""
        cells.append(f'<th scope="col"{css}>{words or "No."}</th>')
    return f"<table>{caption}<thead><tr>{''.join(cells)}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def at_step(step: int | None) -> str:
    """A step as a cell shows it."""
    return NOTHING if step is None else whole(step)


def mark(number: int) -> str:
    """The number of a change, as it stands in the picture, leading to its row."""
    return f'<a class="mark" href="#change-{number}" aria-label="change {number}">{number}</a>'


def marks(first: int, last: int) -> str:
    """The numbers of the changes of a series, as they stand in the picture, leading to its row."""
    return f'<a class="mark" href="#changes-{first}" aria-label="changes {first} to {last}">{first}\u2013{last}</a>'
