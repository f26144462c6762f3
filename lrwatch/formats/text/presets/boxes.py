"""Stable-Baselines3: a box of names and values between two rules is one record; `train/` heads the rows below it."""

from __future__ import annotations

import re

from lrwatch.formats.text.presets import tables
from lrwatch.formats.text.recipe import Recipe, Slot

_RULE = re.compile(rb"-{5,}\s*$")
_ROW = re.compile(rb"\| +(\S[^|]*?) +\| +(?:([^|\s]+) +)?\|\s*$")


def box(mask: bytes, start: int) -> Recipe | None:
    """Read a line of a box: a rule has no cells, a heading one, a row two."""
    mask, start = tables.ascii_lines(mask, start)
    if _RULE.match(mask, start):
        return Recipe(kind="box")
    if (match := _ROW.match(mask, start)) is None:
        return None
    if match[1][:1].isdigit():  # a row of a table of numbers
        return None
    spans = [match.span(1)] + ([match.span(2)] if match[2] is not None else [])
    if match[2] is not None and not any(digit in match[2].lower() for digit in (b"0", b"nan", b"inf")):
        return None
    return Recipe(kind="box", cells=tuple(Slot(*span) for span in spans))
